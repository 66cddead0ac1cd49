from . import heads, losses, necks, refiners, selfsup, utils  # noqa: F401
