from .attention_probe import AttentionProbe
from .linear_probe import LinearProbe

__all__ = ['AttentionProbe', 'LinearProbe']
