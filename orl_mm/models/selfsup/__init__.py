from .detcon import DetCon
from .dino import DINO
from .infomin import InfoMin
from .pixpro import PixPro
from .r2o import R2O
from .vader import VADeR

__all__ = ['DINO', 'DetCon', 'InfoMin', 'PixPro', 'R2O', 'VADeR']
