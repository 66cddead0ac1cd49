from .check_labels import CheckLabels
from .gaussian_blur import GaussianBlur
from .generate_superpixels import GenerateSuperpixels
from .jigsaw_crops import JigsawCrops
from .load_image import LoadImage
from .load_parts import LoadParts
from .load_xray import LoadXray
from .multi_view import MultiViewWithGeometry
from .parts_to_seg_map import PartsToSegMap
from .random_relative_resize import RandomRelativeResize
from .random_rigid_motion import RandomRigidMotion
from .random_sharpness import RandomSharpness
from .registered_template import RegisteredTemplate
from .seed_sample import SeedSample

__all__ = [
    'CheckLabels',
    'GaussianBlur',
    'GenerateSuperpixels',
    'JigsawCrops',
    'LoadImage',
    'LoadParts',
    'LoadXray',
    'MultiViewWithGeometry',
    'PartsToSegMap',
    'RandomRelativeResize',
    'RandomRigidMotion',
    'RandomSharpness',
    'RegisteredTemplate',
    'SeedSample',
]
