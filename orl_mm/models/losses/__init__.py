from .detcon_loss import DetConLoss
from .dino_loss import DINOLoss
from .region_cosine_loss import RegionCosineLoss

__all__ = ['DINOLoss', 'DetConLoss', 'RegionCosineLoss']
