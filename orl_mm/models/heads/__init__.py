from .region_predict_head import RegionPredictHead

__all__ = ['RegionPredictHead']
