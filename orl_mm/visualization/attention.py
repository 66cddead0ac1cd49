"""Attention over images (the thesis's figures 3.1 and 3.4).

Attention is on the patch grid, (h, w), and is enlarged by nearest neighbour, as the thesis
does; templates and masks of parts, (R, h', w') in a resolution of their own, cover the same
area: the whole picture.
"""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from orl_mm.evaluation.attention_scores import coverage, on_grid

from .draw import fit_image, resize_labels
from .parts import outline_parts, part_color, part_legend
from .sheet import contact_sheet

# Without inferno's dark end, which would hide the image where attention is weak.
_HEAT = matplotlib.colormaps['inferno'](np.linspace(0.35, 1, 256))[:, :3] * 255


class AttentionColumn(NamedTuple):
    """Maps of one head, of one network.

    Attributes:
        name (str): Above the column.
        maps (np.ndarray): (B, h, w), not negative.
        part (int, optional): Index of the part that the head is compared with.
    """

    name: str
    maps: np.ndarray
    part: int | None = None


def draw_heat(image: np.ndarray, heat: np.ndarray, alpha: float = 0.65) -> np.ndarray:
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
        raise ValueError(
            'a map must be finite and not negative, got values from '
            f'{np.min(heat)} to {np.max(heat)}'
        )
    heat = resize_labels(heat / max(heat.max(), 1e-12), *image.shape[:2])
    grey = (image.astype(np.float64) @ (0.299, 0.587, 0.114))[..., None]
    colors = _HEAT[np.round(heat * 255).astype(int)]
    weight = alpha * heat[..., None] ** 0.5  # weak attention stays visible
    return np.round((1 - weight) * grey + weight * colors).astype(np.uint8)


def attention_panel(
    images: Sequence[np.ndarray],
    templates: Sequence[np.ndarray] | None,
    columns: Sequence[AttentionColumn],
    title: str = '',
    note: str = '',
    cell: int = 224,
    parts: Sequence[str] = (),
    names: Sequence[str] = (),
) -> Figure:
    """Rows: images. Columns: the image with its template, then attention, head by head.

    Below a map of a part, :func:`describe_map`.

    Args:
        images (sequence): B images (H, W, 3) uint8 RGB, of any sizes.
        templates (sequence, optional): Of each image (R, h, w) in [0, 1].
        columns (sequence): :class:`AttentionColumn`, of one network or of several.
        title, note, cell: See :func:`contact_sheet`.
        parts (sequence): R names, for a legend.
        names (sequence): Of the images.

    Returns:
        matplotlib.figure.Figure
    """
    rows, captions = [], []
    for b, image in enumerate(images):
        image = fit_image(image, cell)
        row = [image if templates is None else outline_parts(image, templates[b])]
        words = [names[b] if names else '']
        for column in columns:
            picture, caption = draw_heat(image, column.maps[b]), ''
            if templates is not None and column.part is not None:
                part = templates[b][column.part]
                picture = outline_parts(picture, part[None], [part_color(column.part)])
                caption = describe_map(column.maps[b], part)
            row.append(picture)
            words.append(caption)
        rows.append(row)
        captions.append(words)
    first = 'image' if templates is None else 'image and parts'
    return contact_sheet(
        rows,
        [first, *(column.name for column in columns)],
        captions,
        title,
        note,
        cell,
        part_legend(parts if templates is not None else ()),
    )


def describe_map(heat: np.ndarray, part: np.ndarray) -> str:
    """Such as ``81% inside, covers 64%``.

    How much of the map lies inside of the part (of the attention that patches get, so CLS does
    not count), and which share of the part has more than the map's mean: a head may be all
    inside and look at one patch.

    Args:
        heat (np.ndarray): (h, w), not negative.
        part (np.ndarray): (h', w') in [0, 1], of the same area.
    """
    part = on_grid(part[None], heat.shape)[0]
    if not part.any():
        return 'no such part'
    inside = (heat * part).sum() / max(heat.sum(), 1e-12)
    covered = coverage(heat.reshape(1, -1), part.reshape(1, -1))[0, 0]
    return f'{inside:.0%} inside, covers {covered:.0%}'
