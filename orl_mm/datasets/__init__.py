from . import transforms  # noqa: F401
from .chest_xray_parts import ChestXRayParts
from .demo_photos import DemoPhotos
from .image_list import ImageList

__all__ = ['ChestXRayParts', 'DemoPhotos', 'ImageList']
