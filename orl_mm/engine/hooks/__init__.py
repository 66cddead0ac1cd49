from .object_visualization_hook import ObjectVisualizationHook
from .set_epoch_hook import SetEpochHook

__all__ = ['ObjectVisualizationHook', 'SetEpochHook']
