"""Templates and attention over images (the thesis's figures 3.1, 3.3 and 3.4).

Images are (B, H, W, 3) uint8 RGB. Attention and templates are on the patch grid, (h, w),
and cover the same area; they are enlarged by nearest neighbour, as the thesis does.
"""

from typing import NamedTuple, Optional, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from .draw import resize_image, resize_labels
from .parts import outline_parts, part_color
from .sheet import contact_sheet

_HEAT = matplotlib.colormaps['inferno'](np.linspace(0, 1, 256))[:, :3] * 255


class AttentionColumn(NamedTuple):
    """Maps of one head, of one network.

    Attributes:
        name (str): Above the column.
        maps (np.ndarray): (B, h, w), not negative.
        part (int, optional): Index of the part that the head is compared with.
    """
    name: str
    maps: np.ndarray
    part: Optional[int] = None


def draw_heat(image: np.ndarray, heat: np.ndarray, alpha: float = .8) -> np.ndarray:
    """A map over an image's grey levels: the more, the brighter and the less of the image.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        heat (np.ndarray): (h, w), not negative; its maximum becomes 1, all zeros stay 0.
        alpha (float): Share of the colour where the map has its maximum.

    Returns:
        np.ndarray: (H, W, 3) uint8.

    Raises:
        ValueError: Negative or not finite values.
    """
    if not np.isfinite(heat).all() or heat.min() < 0:
        raise ValueError('a map must be finite and not negative, got values from '
                         f'{np.min(heat)} to {np.max(heat)}')
    heat = resize_labels(heat / max(heat.max(), 1e-12), *image.shape[:2])
    grey = (image.astype(np.float64) @ (0.299, 0.587, 0.114))[..., None]
    colors = _HEAT[np.round(heat * 255).astype(int)]
    weight = alpha * heat[..., None]**.5  # weak attention stays visible
    return np.round((1 - weight) * grey + weight * colors).astype(np.uint8)


def attention_panel(images: np.ndarray, templates: Optional[np.ndarray],
                    columns: Sequence[AttentionColumn], title: str = '', note: str = '',
                    cell: int = 224) -> Figure:
    """Rows: images. Columns: the image with its template, then attention, head by head.

    Below a map of a part: how much of the map lies inside of it (of the attention that
    patches get, so CLS does not count).

    Args:
        images (np.ndarray): (B, H, W, 3) uint8 RGB.
        templates (np.ndarray, optional): (B, R, h, w) in [0, 1].
        columns (sequence): :class:`AttentionColumn`, of one network or of several.
        title, note, cell: See :func:`contact_sheet`.

    Returns:
        matplotlib.figure.Figure
    """
    rows, captions = [], []
    for b, image in enumerate(images):
        image = resize_image(image, cell)
        row = [image if templates is None else outline_parts(image, templates[b])]
        words = ['']
        for column in columns:
            picture, caption = draw_heat(image, column.maps[b]), ''
            if templates is not None and column.part is not None:
                k, color = templates[b, column.part], part_color(column.part)
                picture = outline_parts(picture, k[None], [color])
                total = column.maps[b].sum()
                inside = (column.maps[b] * k).sum() / total if total else 0.
                caption = f'{inside:.0%} inside' if k.any() else 'no such part'
            row.append(picture)
            words.append(caption)
        rows.append(row)
        captions.append(words)
    first = 'image' if templates is None else 'image and template'
    return contact_sheet(rows, [first, *(column.name for column in columns)], captions, title, note,
                         cell)
