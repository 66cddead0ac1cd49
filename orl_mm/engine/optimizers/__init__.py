from .lars import LARS
from .lars_constructor import LARSConstructor
from .matrix_decay_constructor import MatrixDecayConstructor
from .part_rate_constructor import PartRateConstructor

__all__ = ['LARS', 'LARSConstructor', 'MatrixDecayConstructor', 'PartRateConstructor']
