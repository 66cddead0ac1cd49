from .mask_pool_neck import MaskPoolNeck

__all__ = ['MaskPoolNeck']
