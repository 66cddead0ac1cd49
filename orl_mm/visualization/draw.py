"""Draw label maps, named parts and heat maps over images.

Images are (H, W, 3) uint8 RGB in and out. A label map, mask or heat map covers the whole image
whatever its own size, and is enlarged by nearest neighbor.
"""

from collections.abc import Sequence
from functools import lru_cache

import matplotlib
import numpy as np
from PIL import Image, ImageOps
from skimage.color import rgb2gray, rgb2lab
from skimage.segmentation import find_boundaries, mark_boundaries

Color = tuple[int, int, int]

# Color of the r-th named part, the same in every picture; they repeat beyond the sixth.
PART_COLORS: tuple[Color, ...] = (
    (255, 176, 0),
    (100, 220, 255),
    (255, 120, 200),
    (170, 255, 120),
    (200, 160, 255),
    (255, 255, 255),
)
# The palette of Okabe and Ito (2008) for all kinds of color vision, without black.
_OKABE_ITO = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
# Linear RGB as seen with deuteranopia (Machado et al. 2009, severity 1).
_DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
# Without inferno's dark end, which would hide the image where attention is weak.
_HEAT = matplotlib.colormaps['inferno'](np.linspace(0.35, 1, 256))[:, :3] * 255


def part_color(index: int) -> Color:
    return PART_COLORS[index % len(PART_COLORS)]


def deuteranopia(colors: np.ndarray) -> np.ndarray:
    """Simulate how colors look to a red-green-blind eye.

    Args:
        colors (np.ndarray): (N, 3) uint8 sRGB.

    Returns:
        np.ndarray: (N, 3) uint8 sRGB.
    """
    srgb = colors / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ _DEUTERANOPIA.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(srgb * 255).astype(np.uint8)


def object_colors(num: int) -> np.ndarray:
    """Colors of the ids 0 .. num-1, uint8 RGB (num, 3).

    The color of an id does not depend on ``num``. The first seven are Okabe and Ito's; each
    next one is the color of a grid that is farthest from all before it, by the smaller of its
    CIELAB distances for normal and for red-green-blind eyes. Beyond 256 they repeat.

    Raises:
        ValueError: ``num`` is negative.
    """
    if num < 0:
        raise ValueError(f'num must be >= 0, got {num}')
    palette = _palette()
    return palette[np.arange(num) % len(palette)]


@lru_cache(maxsize=1)
def _palette(size: int = 256) -> np.ndarray:
    levels = np.linspace(0, 255, 12).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    lightness, a, b = rgb2lab(grid[None])[0].T
    grid = grid[(lightness > 30) & (lightness < 92) & (np.hypot(a, b) > 25)]  # no greys
    pool = np.concatenate([np.array(_OKABE_ITO, np.uint8), grid])
    spaces = [rgb2lab(colors[None])[0] for colors in (pool, deuteranopia(pool))]
    nearest = np.full(len(pool), np.inf)
    chosen: list[int] = []
    while len(chosen) < size:
        new = len(chosen) if len(chosen) < len(_OKABE_ITO) else int(nearest.argmax())
        chosen.append(new)
        for space in spaces:
            nearest = np.minimum(nearest, np.linalg.norm(space - space[new], axis=1))
    palette = pool[chosen]
    palette.setflags(write=False)
    return palette


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """An image squashed or stretched to ``size`` x ``size``."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def fit_image(image: np.ndarray, size: int) -> np.ndarray:
    """An image whose longer side is ``size`` pixels, with its aspect ratio kept."""
    if max(image.shape[:2]) == size:
        return image
    pil = Image.fromarray(image)
    return np.asarray(ImageOps.contain(pil, (size, size), Image.Resampling.BICUBIC))


def resize_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The label under the center of each new pixel, (height, width)."""
    rows = (2 * np.arange(height) + 1) * labels.shape[0] // (2 * height)
    cols = (2 * np.arange(width) + 1) * labels.shape[1] // (2 * width)
    return labels[rows[:, None], cols]


def draw_boundaries(
    image: np.ndarray, labels: np.ndarray, color: Color = (255, 255, 0)
) -> np.ndarray:
    """The borders between regions as a line with a black outline.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        labels (np.ndarray): (h, w) region ids.
        color (tuple): Of the line.
    """
    _check(image, labels)
    labels = resize_labels(labels, *image.shape[:2])
    line = np.array(color) / 255
    marked = mark_boundaries(image, labels, color=line, outline_color=(0, 0, 0), mode='inner')
    return np.round(marked * 255).astype(np.uint8)


def blend_labels(
    image: np.ndarray, labels: np.ndarray, alpha: float = 0.55, boundaries: bool = True
) -> np.ndarray:
    """Each region in the color of its id, over the image's grey levels.

    Unlike ``skimage.color.label2rgb``, whose colors go by the rank of an id within the image,
    an id has the same color in every image.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        labels (np.ndarray): (h, w) ids >= 0, colored by :func:`object_colors`.
        alpha (float): Weight of the color, 0 to 1.
        boundaries (bool): Also draw a white line between regions.

    Raises:
        ValueError: Negative ids, or ``alpha`` outside [0, 1].
    """
    _check(image, labels)
    if not 0 <= alpha <= 1:
        raise ValueError(f'alpha must lie in [0, 1], got {alpha}')
    if labels.min() < 0:
        raise ValueError(f'ids must be >= 0, got {labels.min()}')
    labels = resize_labels(labels, *image.shape[:2])
    # Lightened, so that colors can be told apart in the shadows too.
    grey = 50 + 0.8 * _grey(image)
    out = (1 - alpha) * grey + alpha * object_colors(int(labels.max()) + 1)[labels]
    if boundaries:
        out[find_boundaries(labels, mode='inner')] = 255
    return np.round(out).astype(np.uint8)


def outline_parts(
    image: np.ndarray, parts: np.ndarray, colors: Sequence[Color] = PART_COLORS
) -> np.ndarray:
    """The border of each part, where it covers at least half of a cell.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        parts (np.ndarray): (R, h, w) in [0, 1]; parts may overlap.
        colors (sequence): Of the parts; repeated if there are more parts.
    """
    out = image.copy()
    for r, part in enumerate(parts):
        mask = resize_labels(part >= 0.5, *image.shape[:2])
        # Padded, so that a part that reaches the image's edge is closed there.
        out[find_boundaries(np.pad(mask, 1), mode='inner')[1:-1, 1:-1]] = colors[r % len(colors)]
    return out


def fill_parts(
    image: np.ndarray, parts: np.ndarray, colors: Sequence[Color] = PART_COLORS, alpha: float = 0.5
) -> np.ndarray:
    """Each part in its color over the image's grey levels, in proportion to its value.

    Where parts overlap, their colors mix by their values.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        parts (np.ndarray): (R, h, w) in [0, 1].
        colors (sequence): Of the parts; repeated if there are more parts.
        alpha (float): Weight of the color where a part is 1.
    """
    maps = np.stack([resize_labels(part, *image.shape[:2]) for part in parts], -1)
    palette = np.array([colors[r % len(colors)] for r in range(len(parts))], float)
    mixed = maps @ palette / np.maximum(maps.sum(-1, keepdims=True), 1e-12)
    weight = alpha * maps.max(-1, keepdims=True)
    return np.round((1 - weight) * _grey(image) + weight * mixed).astype(np.uint8)


def draw_heat(image: np.ndarray, heat: np.ndarray, alpha: float = 0.65) -> np.ndarray:
    """A heat map over the image's grey levels: higher values are brighter and more opaque.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        heat (np.ndarray): (h, w), not negative; scaled so that its maximum is 1.
        alpha (float): Weight of the color where the map has its maximum.

    Raises:
        ValueError: Negative or not finite values.
    """
    if not np.isfinite(heat).all() or heat.min() < 0:
        raise ValueError(
            'a map must be finite and not negative, got values from '
            f'{np.min(heat)} to {np.max(heat)}'
        )
    heat = resize_labels(heat / max(heat.max(), 1e-12), *image.shape[:2])
    weight = alpha * np.sqrt(heat)[..., None]  # the root keeps weak attention visible
    colors = _HEAT[np.round(heat * 255).astype(int)]
    return np.round((1 - weight) * _grey(image) + weight * colors).astype(np.uint8)


def _grey(image: np.ndarray) -> np.ndarray:
    return 255 * rgb2gray(image)[..., None]


def _check(image: np.ndarray, labels: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f'image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}')
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f'labels must be (h, w) integers, got {labels.shape} {labels.dtype}')
