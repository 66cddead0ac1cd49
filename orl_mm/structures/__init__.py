from .region_batch import RegionBatch
from .view_geometry import ViewGeometry

__all__ = ['RegionBatch', 'ViewGeometry']
