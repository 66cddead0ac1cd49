from .attention import comparison_panel, heads_panel
from .draw import object_colors
from .ids import match_ids, rank_by_size
from .panels import objects_panel, template_views_panel, templates_panel, views_panel
from .sheet import Cell, contact_sheet, figure_to_rgb, save_figure

__all__ = [
    'Cell',
    'comparison_panel',
    'contact_sheet',
    'figure_to_rgb',
    'heads_panel',
    'match_ids',
    'object_colors',
    'objects_panel',
    'rank_by_size',
    'save_figure',
    'template_views_panel',
    'templates_panel',
    'views_panel',
]
