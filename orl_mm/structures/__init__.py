from .region_batch import RegionBatch
from .template_batch import TemplateBatch
from .view_geometry import ViewGeometry

__all__ = ['RegionBatch', 'TemplateBatch', 'ViewGeometry']
