from .r2o import R2O

__all__ = ['R2O']
