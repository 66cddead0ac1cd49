from .attention import AttentionColumn, attention_panel, draw_heat
from .colors import object_colors
from .draw import blend_labels, draw_boundaries, draw_boxes
from .ids import match_ids, rank_by_size
from .panels import objects_panel, views_panel
from .parts import fill_parts, outline_parts
from .sheet import contact_sheet, figure_to_rgb, save_figure

__all__ = [
    'attention_panel',
    'AttentionColumn',
    'blend_labels',
    'contact_sheet',
    'draw_boundaries',
    'draw_boxes',
    'draw_heat',
    'figure_to_rgb',
    'fill_parts',
    'match_ids',
    'object_colors',
    'objects_panel',
    'outline_parts',
    'rank_by_size',
    'save_figure',
    'views_panel',
]
