from .gaussian_blur import GaussianBlur
from .generate_superpixels import GenerateSuperpixels
from .load_image import LoadImage
from .multi_view import MultiViewWithGeometry
from .seed_sample import SeedSample

__all__ = [
    'GaussianBlur', 'GenerateSuperpixels', 'LoadImage',
    'MultiViewWithGeometry', 'SeedSample'
]
