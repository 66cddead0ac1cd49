from .attention_ap import AttentionAP

__all__ = ['AttentionAP']
