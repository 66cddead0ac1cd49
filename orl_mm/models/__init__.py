from . import data_preprocessors, heads, losses, necks, positives, probes, refiners, utils
from .selfsup import DINO, R2O, DetCon, InfoMin, PixPro, VADeR

__all__ = ['DINO', 'DetCon', 'InfoMin', 'PixPro', 'R2O', 'VADeR']
