from .fixed_lr_hook import FixedLRHook
from .kmeans_refine_hook import KMeansRefineHook
from .momentum_update_hook import MomentumUpdateHook
from .object_visualization_hook import ObjectVisualizationHook
from .plain_bn_on_cpu_hook import PlainBNOnCPUHook
from .say_where_hook import SayWhereHook
from .set_epoch_hook import SetEpochHook

__all__ = [
    'FixedLRHook', 'KMeansRefineHook', 'MomentumUpdateHook', 'ObjectVisualizationHook',
    'PlainBNOnCPUHook', 'SayWhereHook', 'SetEpochHook'
]
