"""Prior masks: image to superpixel labels 0 .. M-1, not learned (thesis 2.2)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from orl_mm.structures.view_geometry import ViewGeometry

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def slic(
    img: np.ndarray, num_segments: int = 100, compactness: float = 10.0, normalize: bool = False
) -> np.ndarray:
    """SLIC superpixels of scikit-image (Achanta 2012).

    Args:
        img (np.ndarray): (H, W, 3) uint8, RGB.
        num_segments (int): About how many; connectivity decides the rest.
        compactness (float): Weight of distance against colour.
        normalize (bool): False: on RGB in [0, 1] (thesis). True: on the
            array standardised by ImageNet's mean and std, in float32 and then
            float64, as the published R2O code does. scikit-image >= 0.19
            rescales either to [0, 1] by its extremes.

    Returns:
        np.ndarray: (H, W) int32, labels 0 .. M-1 without gaps.
    """
    from skimage.segmentation import slic as skimage_slic

    if normalize:
        pixels = img.astype(np.float32) / np.float32(255)
        pixels = (pixels - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
        pixels = pixels.astype(np.float64)
    else:
        pixels = img / 255.0
    labels = skimage_slic(
        pixels, n_segments=num_segments, compactness=compactness, start_label=0, channel_axis=-1
    )
    return contiguous(labels)


def felzenszwalb(
    img: np.ndarray, scale: float = 1000.0, sigma: float = 0.8, min_size: int = 1000
) -> np.ndarray:
    """Felzenszwalb and Huttenlocher's graph segmentation, DetCon's masks by default.

    Args:
        img (np.ndarray): (H, W, 3) uint8, RGB.
        scale (float): Higher means larger regions.
        sigma (float): Width of the Gaussian that smooths the image first.
        min_size (int): Smallest region, in pixels.

    Returns:
        np.ndarray: (H, W) int32, labels 0 .. M-1 without gaps.
    """
    from skimage.segmentation import felzenszwalb as skimage_felzenszwalb

    labels = skimage_felzenszwalb(img / 255.0, scale=scale, sigma=sigma, min_size=min_size)
    return contiguous(labels)


def grid(img: np.ndarray, num_cells: int = 10) -> np.ndarray:
    """A regular grid of ``num_cells`` x ``num_cells``, numbered row by row.

    Pixel i of a side of length S belongs to cell floor(i * n / S); a side of
    fewer than n pixels has one cell a pixel.

    Returns:
        np.ndarray: (H, W) int32, labels 0 .. M-1.
    """
    height, width = img.shape[:2]
    rows, cols = (min(num_cells, side) for side in (height, width))
    y = np.arange(height) * rows // height
    x = np.arange(width) * cols // width
    return (y[:, None] * cols + x[None, :]).astype(np.int32)


def read_label_file(path: str, size: int, image_size: tuple[int, int] | None) -> np.ndarray:
    """A prior given as a label PNG, in the frame of x0.

    Args:
        path (str): A single-channel image (8 or 16 bits, or a palette, whose
            indices count); any label values.
        size (int): Side of x0.
        image_size (tuple, optional): (height, width) of the original image:
            a mask of that size is squashed as x0 is, by nearest neighbour.

    Returns:
        np.ndarray: (size, size) int32, renumbered 0 .. M-1 in rising order.

    Raises:
        ValueError: Several channels, or a mask that has neither the size of
            x0 nor that of the image.
    """
    with Image.open(path) as pil:
        labels = np.asarray(pil)
    if labels.ndim != 2:
        raise ValueError(
            f'{path} has {labels.shape[2]} channels; a label map '
            'has one (its values are region ids)'
        )
    labels = labels.astype(np.int32)
    if labels.shape != (size, size):
        if image_size is None or labels.shape != tuple(image_size):
            image = (
                ''
                if image_size is None
                else (f" nor the image's, {image_size[0]} x {image_size[1]}")
            )
            raise ValueError(
                f'{path} is {labels.shape[0]} x {labels.shape[1]} (H x W), '
                f'which is neither the size of x0, {size} x {size},{image}'
            )
        labels = ViewGeometry.whole(*labels.shape).apply_labels(labels, size)
    return contiguous(labels)


def find_label_file(folder: str, relative: str) -> str:
    """The mask of image ``relative``: its path with ``.png`` instead, or added.

    Raises:
        ValueError: In neither place.
    """
    base = Path(folder) / relative
    for path in (base.with_suffix('.png'), base.with_name(base.name + '.png')):
        if path.is_file():
            return str(path)
    raise ValueError(
        f'no mask for {relative}: neither {base.with_suffix(".png")} nor {base}.png exists'
    )


def contiguous(labels: np.ndarray) -> np.ndarray:
    """Renumber labels to 0 .. M-1, keeping their order; (H, W) int32."""
    if labels.min() >= 0 and labels.max() < labels.size:
        present = np.bincount(labels.ravel()) > 0
        if present.all():
            return np.ascontiguousarray(labels, dtype=np.int32)
        return (np.cumsum(present) - 1)[labels].astype(np.int32)
    _, labels_ = np.unique(labels, return_inverse=True)
    return labels_.reshape(labels.shape).astype(np.int32)


METHODS: dict[str, Callable[..., np.ndarray]] = dict(
    slic=slic, felzenszwalb=felzenszwalb, grid=grid
)
"""Priors that are computed from the image; their keyword arguments are the
parameters that a cache records. ``files`` and ``none`` compute nothing."""
