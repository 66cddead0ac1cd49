from .attention_probe import AttentionProbe

__all__ = ['AttentionProbe']
