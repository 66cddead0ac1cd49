from .attention_probe import AttentionProbe
from .knn_probe import KNNProbe
from .linear_probe import LinearProbe

__all__ = ['AttentionProbe', 'KNNProbe', 'LinearProbe']
