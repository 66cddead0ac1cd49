from .lars import LARS
from .lars_constructor import LARSConstructor

__all__ = ['LARS', 'LARSConstructor']
