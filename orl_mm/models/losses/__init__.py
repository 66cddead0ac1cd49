from .region_cosine_loss import RegionCosineLoss

__all__ = ['RegionCosineLoss']
