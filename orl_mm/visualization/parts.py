"""Named parts over images: coloured, outlined, listed. Numpy in, RGB uint8 numpy out.

Maps of parts are (R, h, w) in [0, 1] and cover the whole image whatever its size; part r has
the colour ``PART_COLORS[r]`` in every picture.
"""

from collections.abc import Sequence

import numpy as np
from skimage.segmentation import find_boundaries

from .draw import resize_labels

PART_COLORS = (
    (255, 176, 0),
    (100, 220, 255),
    (255, 120, 200),
    (170, 255, 120),
    (200, 160, 255),
    (255, 255, 255),
)


def part_color(index: int) -> tuple:
    """Colour of the part with this index; they repeat beyond the sixth."""
    return PART_COLORS[index % len(PART_COLORS)]


def part_legend(parts: Sequence[str]) -> list:
    """Names and colours for :func:`~.sheet.contact_sheet`."""
    return [(part.replace('_', ' '), part_color(r)) for r, part in enumerate(parts)]


def outline_parts(
    image: np.ndarray, parts: np.ndarray, colors: Sequence = PART_COLORS
) -> np.ndarray:
    """The border of each part, where it covers half of a cell or more.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        parts (np.ndarray): (R, h, w) in [0, 1]; parts may overlap.
        colors (sequence): Repeated if there are more parts.

    Returns:
        np.ndarray: (H, W, 3) uint8.
    """
    out = image.copy()
    for r, part in enumerate(parts):
        mask = resize_labels((part >= 0.5).astype(np.uint8), *image.shape[:2])
        border = find_boundaries(np.pad(mask, 1), mode='inner')[1:-1, 1:-1]
        out[border] = colors[r % len(colors)]
    return out


def fill_parts(
    image: np.ndarray, parts: np.ndarray, colors: Sequence = PART_COLORS, alpha: float = 0.5
) -> np.ndarray:
    """Each part in its colour over the image's grey levels, the stronger the nearer to 1.

    Where parts overlap, their colours mix by their values.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        parts (np.ndarray): (R, h, w) in [0, 1].
        colors (sequence): Repeated if there are more parts.
        alpha (float): Share of the colour where a part is 1.

    Returns:
        np.ndarray: (H, W, 3) uint8.
    """
    grey = (image.astype(np.float64) @ (0.299, 0.587, 0.114))[..., None]
    maps = np.stack([resize_labels(part, *image.shape[:2]) for part in parts]).astype(np.float64)
    total = maps.sum(0)
    palette = np.array([colors[r % len(colors)] for r in range(len(parts))], np.float64)
    mixed = np.einsum('rhw,rc->hwc', maps, palette) / np.maximum(total, 1e-12)[..., None]
    weight = alpha * maps.max(0)[..., None]
    return np.round((1 - weight) * grey + weight * mixed).astype(np.uint8)
