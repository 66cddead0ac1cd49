from .lars import LARS
from .lars_constructor import LARSConstructor
from .matrix_decay_constructor import MatrixDecayConstructor

__all__ = ['LARS', 'LARSConstructor', 'MatrixDecayConstructor']
