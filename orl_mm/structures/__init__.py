from .region_batch import RegionBatch
from .rigid_motion import RigidMotion
from .template_batch import TemplateBatch
from .to_device import to_device
from .view_geometry import ViewGeometry

__all__ = ['RegionBatch', 'RigidMotion', 'TemplateBatch', 'ViewGeometry', 'to_device']
