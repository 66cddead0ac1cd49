from . import transforms  # noqa: F401
from .demo_photos import DemoPhotos
from .image_list import ImageList

__all__ = ['DemoPhotos', 'ImageList']
