from .gaussian_blur import GaussianBlur
from .generate_superpixels import GenerateSuperpixels
from .load_image import LoadImage
from .multi_view import MultiViewWithGeometry
from .parts_to_seg_map import PartsToSegMap
from .seed_sample import SeedSample

__all__ = [
    'GaussianBlur', 'GenerateSuperpixels', 'LoadImage',
    'MultiViewWithGeometry', 'PartsToSegMap', 'SeedSample'
]
