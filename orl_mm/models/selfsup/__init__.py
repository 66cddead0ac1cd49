from .detcon import DetCon
from .dino import DINO
from .r2o import R2O

__all__ = ['DINO', 'DetCon', 'R2O']
