"""R2O, DINO, the methods they are compared with, and their parts.

Every module of this package is imported, so a new part only needs a file of its own.
"""

from orl_mm.registry import import_modules

from .baselines.byol import BYOL
from .baselines.detcon import DetCon
from .baselines.infomin import InfoMin
from .baselines.pixpro import PixPro
from .baselines.vader import VADeR
from .selfsup.dino import DINO
from .selfsup.r2o import R2O

import_modules(__name__, __path__)

__all__ = ['BYOL', 'DINO', 'DetCon', 'InfoMin', 'PixPro', 'R2O', 'VADeR']
