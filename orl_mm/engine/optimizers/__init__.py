from .bfloat16_optim_wrapper import BFloat16OptimWrapper
from .lars import LARS
from .lars_constructor import LARSConstructor
from .matrix_decay_constructor import MatrixDecayConstructor
from .part_rate_constructor import PartRateConstructor

__all__ = [
    'BFloat16OptimWrapper',
    'LARS',
    'LARSConstructor',
    'MatrixDecayConstructor',
    'PartRateConstructor',
]
