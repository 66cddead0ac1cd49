from .probe_data_preprocessor import ProbeDataPreprocessor
from .region_data_preprocessor import RegionDataPreprocessor

__all__ = ['ProbeDataPreprocessor', 'RegionDataPreprocessor']
