from . import (data_preprocessors, heads, losses, necks, positives, probes,  # noqa: F401
               refiners, utils)
from .selfsup import DINO, R2O

__all__ = ['DINO', 'R2O']
