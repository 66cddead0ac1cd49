from .dino import DINO
from .r2o import R2O

__all__ = ['DINO', 'R2O']
