from .feature_norm import FeatureNorm
from .jigsaw_neck import JigsawNeck
from .mask_pool_neck import MaskPoolNeck
from .pixel_mlp import PixelMLP
from .pyramid_decoder import PyramidDecoder
from .region_mlp import RegionMLP

__all__ = ['FeatureNorm', 'JigsawNeck', 'MaskPoolNeck', 'PixelMLP', 'PyramidDecoder', 'RegionMLP']
