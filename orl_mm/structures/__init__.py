from .region_batch import RegionBatch

__all__ = ['RegionBatch']
