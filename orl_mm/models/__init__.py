from . import (data_preprocessors, heads, losses, necks, positives, probes,  # noqa: F401
               refiners, utils)
from .selfsup import DINO, DetCon, InfoMin, PixPro, R2O, VADeR

__all__ = ['DINO', 'DetCon', 'InfoMin', 'PixPro', 'R2O', 'VADeR']
