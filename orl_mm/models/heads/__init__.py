from .base_region_head import BaseRegionHead
from .detcon_head import DetConHead
from .dino_head import DINOHead
from .pixel_contrast_head import PixelContrastHead
from .pixel_propagation_head import PixelPropagationHead
from .region_contrast_head import RegionContrastHead
from .region_predict_head import RegionPredictHead

__all__ = [
    'BaseRegionHead',
    'DINOHead',
    'DetConHead',
    'PixelContrastHead',
    'PixelPropagationHead',
    'RegionContrastHead',
    'RegionPredictHead',
]
