from . import transforms  # noqa: F401
from .image_list import ImageList

__all__ = ['ImageList']
