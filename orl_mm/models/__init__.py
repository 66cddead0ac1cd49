from . import data_preprocessors, heads, losses, necks, positives, refiners, utils  # noqa: F401
from .selfsup import DINO, R2O

__all__ = ['DINO', 'R2O']
