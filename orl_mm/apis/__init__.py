"""Objects, attention maps and backbones from Python, without a runner."""

from .attention_inferencer import AttentionInferencer
from .backbone import get_backbone
from .object_inferencer import ObjectInferencer

__all__ = ['AttentionInferencer', 'ObjectInferencer', 'get_backbone']
