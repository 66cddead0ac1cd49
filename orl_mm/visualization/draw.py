"""Label maps and boxes over images: numpy in, RGB uint8 numpy out.

Images are (H, W, 3) uint8 RGB. A label map of another size is brought to the
image's by nearest neighbour, as both cover the same area.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from skimage.segmentation import find_boundaries, mark_boundaries

from .colors import object_colors

Color = tuple[int, int, int]


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """An image squashed or stretched to ``size`` x ``size``."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def fit_image(image: np.ndarray, size: int) -> np.ndarray:
    """An image whose longer side is ``size`` pixels, its aspect kept."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    shape = max(round(width * scale), 1), max(round(height * scale), 1)
    if shape == (width, height):
        return image
    return np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BICUBIC))


def resize_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The label under the centre of each new pixel, (height, width)."""
    rows = (2 * np.arange(height) + 1) * labels.shape[0] // (2 * height)
    cols = (2 * np.arange(width) + 1) * labels.shape[1] // (2 * width)
    return labels[rows[:, None], cols]


def draw_boundaries(
    image: np.ndarray,
    labels: np.ndarray,
    color: Color = (255, 255, 0),
    outline: Color | None = (0, 0, 0),
) -> np.ndarray:
    """The borders between regions, as a line readable on any image.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        labels (np.ndarray): (h, w) region ids.
        color (tuple): Of the line.
        outline (tuple, optional): Of a second line around it, for contrast.

    Returns:
        np.ndarray: (H, W, 3) uint8.
    """
    _check(image, labels)
    labels = resize_labels(labels, *image.shape[:2])
    marked = mark_boundaries(
        image,
        labels,
        color=np.array(color) / 255.0,
        mode='inner',
        outline_color=None if outline is None else np.array(outline) / 255.0,
    )
    return np.round(marked * 255).astype(np.uint8)


def blend_labels(
    image: np.ndarray,
    labels: np.ndarray,
    alpha: float = 0.55,
    colors: np.ndarray | None = None,
    boundaries: bool = True,
) -> np.ndarray:
    """Each region in the colour of its id, over the image's grey levels.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        labels (np.ndarray): (h, w) ids >= 0.
        alpha (float): Share of the colour, 0 to 1.
        colors (np.ndarray, optional): (N, 3) uint8, N above the largest id.
            Default: :func:`object_colors`.
        boundaries (bool): Also a white line between regions.

    Returns:
        np.ndarray: (H, W, 3) uint8.

    Raises:
        ValueError: Negative ids, too few colours, or ``alpha`` outside [0, 1].
    """
    _check(image, labels)
    if not 0 <= alpha <= 1:
        raise ValueError(f'alpha must lie in [0, 1], got {alpha}')
    if labels.min() < 0:
        raise ValueError(f'ids must be >= 0, got {labels.min()}')
    labels = resize_labels(labels, *image.shape[:2])
    colors = object_colors(int(labels.max()) + 1) if colors is None else colors
    if len(colors) <= labels.max():
        raise ValueError(f'{len(colors)} colours for ids up to {labels.max()}')
    # Black stays dark grey, so that colours can be told apart in the shadows too.
    grey = 50 + 0.8 * (image.astype(np.float64) @ (0.299, 0.587, 0.114))
    out = (1 - alpha) * grey[..., None] + alpha * colors[labels]
    if boundaries:
        out[find_boundaries(labels, mode='inner')] = 255
    return np.round(out).astype(np.uint8)


def draw_boxes(
    image: np.ndarray,
    boxes: Sequence[Sequence[float]],
    colors: Sequence[Color],
    names: Sequence[str] | None = None,
    width: int = 3,
) -> np.ndarray:
    """Boxes of views, named in their upper left corner.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        boxes (sequence): x1, y1, x2, y2 in [0, 1] of the image, half-open.
        colors (sequence): One a box.
        names (sequence, optional): Short texts.
        width (int): Of the line, in pixels; a black one lies beneath it.

    Returns:
        np.ndarray: (H, W, 3) uint8.
    """
    pil = Image.fromarray(image)
    pen = ImageDraw.Draw(pil)
    scale = np.array([image.shape[1], image.shape[0]] * 2)
    for i, (box, color) in enumerate(zip(boxes, colors, strict=False)):
        x1, y1, x2, y2 = np.round(np.asarray(box[:4], np.float64) * scale).astype(int)
        x2, y2 = max(x2 - 1, x1), max(y2 - 1, y1)
        pen.rectangle((x1, y1, x2, y2), outline=(0, 0, 0), width=width + 2)
        inner = (x1 + 1, y1 + 1, max(x2 - 1, x1 + 1), max(y2 - 1, y1 + 1))
        pen.rectangle(inner, outline=tuple(color), width=width)
        if names is not None:
            pen.rectangle((x1 + 1, y1 + 1, x1 + 6 + 9 * len(names[i]), y1 + 16), fill=tuple(color))
            pen.text((x1 + 5, y1 + 2), names[i], fill=(0, 0, 0), font_size=13)
    return np.asarray(pil)


def _check(image: np.ndarray, labels: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f'image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}')
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f'labels must be (h, w) integers, got {labels.shape} {labels.dtype}')
