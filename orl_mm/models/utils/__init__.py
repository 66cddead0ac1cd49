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
from .gather import gather_rows
from .kmeans import fit_kmeans, kmeans
from .region_pairs import RegionPairs
from .regions import (
    byol_distance,
    crop_masks,
    downsample_regions,
    downsample_regions_bilinear,
    mask_pool,
    region_loss,
    region_weights,
)
from .view_grids import cell_centers, near_cells

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
    'crop_masks',
    'downsample_regions',
    'downsample_regions_bilinear',
    'fit_kmeans',
    'gather_rows',
    'kmeans',
    'mask_pool',
    'near_cells',
    'region_loss',
    'region_weights',
]
