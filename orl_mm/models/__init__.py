from . import data_preprocessors, heads, losses, necks, refiners, selfsup, utils  # noqa: F401
