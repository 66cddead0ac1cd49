from .attention import (
    attention_diagnostics,
    attention_mass,
    attention_reg_loss,
    attention_reg_terms,
    attention_spread_loss,
    cls_attention,
    template_average_precision,
)
from .cls_attention_reader import ClsAttentionReader
from .distributed import gather_rows
from .kmeans import fit_kmeans, kmeans
from .r2o_pairs import RegionPairs
from .regions import (
    byol_distance,
    downsample_regions,
    downsample_regions_bilinear,
    mask_pool,
    region_loss,
    region_weights,
)
from .views import cell_centers, crop_labels, crop_masks

__all__ = [
    'ClsAttentionReader',
    'RegionPairs',
    'attention_diagnostics',
    'attention_mass',
    'attention_reg_loss',
    'attention_reg_terms',
    'attention_spread_loss',
    'cls_attention',
    'template_average_precision',
    'byol_distance',
    'cell_centers',
    'crop_labels',
    'crop_masks',
    'downsample_regions',
    'downsample_regions_bilinear',
    'fit_kmeans',
    'gather_rows',
    'kmeans',
    'mask_pool',
    'region_loss',
    'region_weights',
]
