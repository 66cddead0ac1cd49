from .region_batch import RegionBatch
from .rigid_motion import RigidMotion
from .template_batch import TemplateBatch
from .view_geometry import ViewGeometry

__all__ = ['RegionBatch', 'RigidMotion', 'TemplateBatch', 'ViewGeometry']
