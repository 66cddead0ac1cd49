from .bfloat16_optim_wrapper import BFloat16OptimWrapper
from .constructors import LARSConstructor, MatrixDecayConstructor, PartRateConstructor
from .lars import LARS

__all__ = [
    'BFloat16OptimWrapper',
    'LARS',
    'LARSConstructor',
    'MatrixDecayConstructor',
    'PartRateConstructor',
]
