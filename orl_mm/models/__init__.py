from . import (data_preprocessors, heads, losses, necks, positives, probes,  # noqa: F401
               refiners, utils)
from .selfsup import DINO, DetCon, R2O

__all__ = ['DINO', 'DetCon', 'R2O']
