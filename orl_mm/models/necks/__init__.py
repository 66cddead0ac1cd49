from .mask_pool_neck import MaskPoolNeck
from .region_mlp import RegionMLP

__all__ = ['MaskPoolNeck', 'RegionMLP']
