from .attention_ap import AttentionAP
from .multi_label_auroc import MultiLabelAUROC

__all__ = ['AttentionAP', 'MultiLabelAUROC']
