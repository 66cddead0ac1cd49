from . import data_preprocessors, heads, losses, necks, positives, refiners, utils  # noqa: F401
from .selfsup import R2O

__all__ = ['R2O']
