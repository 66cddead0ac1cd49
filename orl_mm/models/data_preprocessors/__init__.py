from .region_data_preprocessor import RegionDataPreprocessor

__all__ = ['RegionDataPreprocessor']
