from . import transforms  # noqa: F401
from .chest_xray_parts import ChestXRayParts
from .chexpert import CheXpert
from .demo_photos import DemoPhotos
from .image_label_csv import ImageLabelCsv
from .image_list import ImageList

__all__ = ['CheXpert', 'ChestXRayParts', 'DemoPhotos', 'ImageLabelCsv', 'ImageList']
