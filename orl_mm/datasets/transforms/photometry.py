"""Photometric transforms as draws and operations: the same draws, other code for the pixels."""

from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import RandomApply, RandomGrayscale
from mmpretrain.datasets.transforms import ColorJitter, Solarize
from mmpretrain.datasets.transforms import GaussianBlur as PillowBlur

from orl_mm.structures.photometry import Operation

from .gaussian_blur import GaussianBlur
from .random_sharpness import RandomSharpness

_LEVELS = np.arange(256, dtype=np.float32)
# OpenCV rounds where Pillow and mmcv truncate. A whole number must stay one.
_TRUNCATE = 1 / 256 - 0.5


def num_operations(transform: Any) -> int | None:
    """How many entries :func:`draw` returns for a transform; None if it does not know it."""
    if isinstance(transform, RandomApply):
        counts = [num_operations(t) for t in transform.transforms.transforms]
        return None if None in counts else sum(filter(None, counts))
    if type(transform) is ColorJitter:
        return 4 if transform.backend == 'pillow' else None
    if type(transform) is RandomGrayscale:
        plain = transform.keep_channels and transform.color_format == 'bgr'
        return 1 if plain and len(transform.channel_weights) == 3 else None
    return 1 if type(transform) in (Solarize, GaussianBlur, PillowBlur, RandomSharpness) else None


def draw(transform: Any) -> list[Operation | None]:
    """Draw what a transform does to the next image, without an image.

    The generators are left as if the transform had been applied.

    Args:
        transform: A transform of which :func:`num_operations` is not None.

    Returns:
        list: Operations in the order of their application, always
        ``num_operations(transform)``; None where an operation is left out.
    """
    if isinstance(transform, RandomApply):
        if not transform.random_apply():
            return [None] * (num_operations(transform) or 0)
        return [op for t in transform.transforms.transforms for op in draw(t)]
    if type(transform) is ColorJitter:
        order, *factors = transform._rand_params()
        names = ('brightness', 'contrast', 'saturation', 'hue')
        return [None if factors[i] is None else (names[i], factors[i]) for i in order]
    if type(transform) is RandomGrayscale:
        weights = np.divide(transform.channel_weights, sum(transform.channel_weights))
        return [('grayscale', *weights) if transform._random_prob() < transform.prob else None]
    if type(transform) is GaussianBlur:
        sigma = transform._draw()
        return [None if sigma is None else ('blur', sigma, transform.kernel_size)]
    if type(transform) is RandomSharpness:
        factor = transform._draw()
        return [None if factor is None else ('sharpness', factor)]
    # mmpretrain's, which share a base class
    name, fixed = ('solarize', 'thr') if type(transform) is Solarize else ('box_blur', 'radius')
    if transform.random_disable():
        return [None]
    value = getattr(transform, fixed)
    return [(name, transform.random_magnitude() if value is None else value)]


def apply_fast(transforms: Iterable[Any], results: dict) -> dict | None:
    """Apply a photometric pipeline with :data:`FAST` operations.

    A transform that :func:`draw` does not know is applied as it is.

    Args:
        transforms: The pipeline.
        results (dict): With ``img``, (H, W, 3) uint8, BGR; not changed in place.

    Returns:
        dict: The results with the new ``img``; None if a transform returned None.
    """
    for transform in transforms:
        if num_operations(transform) is None:
            results = transform(results)
            if results is None:
                return None
            continue
        for name, *values in filter(None, draw(transform)):
            results['img'] = FAST[name](results['img'], *values)
    return results


def _table(values: np.ndarray) -> np.ndarray:
    return values.clip(0, 255).astype(np.uint8)


def brightness(img: np.ndarray, factor: float) -> np.ndarray:
    """Pillow's, to the bit: a table of 256 values."""
    return cv2.LUT(img, _table(np.float32(factor) * _LEVELS))


def contrast(img: np.ndarray, factor: float) -> np.ndarray:
    """Pillow's, by a table; the mean of the grey image is rounded as there."""
    mean = int(cv2.cvtColor(img, cv2.COLOR_BGR2GRAY).mean() + 0.5)
    return cv2.LUT(img, _table(mean + np.float32(factor) * (_LEVELS - mean)))


def saturation(img: np.ndarray, factor: float) -> np.ndarray:
    """Pillow's: away from the grey image by ``factor``."""
    grey = cv2.cvtColor(cv2.cvtColor(img, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return cv2.addWeighted(img, factor, grey, 1 - factor, _TRUNCATE)


def hue(img: np.ndarray, shift: float) -> np.ndarray:
    """Shift by ``shift`` turns; OpenCV's hue of 256 steps is Pillow's."""
    hsv = cv2.cvtColor(img, cv2.COLOR_BGR2HSV_FULL)
    step = np.tile(np.array([int(shift * 255) % 256, 0, 0], np.uint8), img.shape[1])
    rows = hsv.reshape(len(hsv), -1)  # whole rows: a tenth of the time of hsv[..., 0] + step
    np.add(rows, step, out=rows)  # wraps around
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)


def grayscale(img: np.ndarray, *weights: float) -> np.ndarray:
    """The weighted mean of the channels, three times."""
    return cv2.cvtColor(cv2.transform(img, np.array([[*weights, _TRUNCATE]])), cv2.COLOR_GRAY2BGR)


def solarize(img: np.ndarray, threshold: float) -> np.ndarray:
    """Invert the values from ``threshold`` on."""
    return cv2.LUT(img, np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS).astype(np.uint8))


def blur(img: np.ndarray, sigma: float, taps: int) -> np.ndarray:
    """A Gaussian without the taps beyond 3 sigma."""
    kernel = gaussian_kernel(sigma, taps)
    return cv2.sepFilter2D(img, -1, kernel, kernel)


def box_blur(img: np.ndarray, radius: float) -> np.ndarray:
    """Pillow's ``GaussianBlur``: three box filters, each of which repeats the edge pixels."""
    kernel = box_kernel(radius)
    for _ in range(3):
        img = cv2.sepFilter2D(img, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    return img


def sharpness(img: np.ndarray, factor: float) -> np.ndarray:
    """mmcv's ``adjust_sharpness`` as one filter."""
    kernel = (1 - factor) / 13 * np.ones((3, 3))
    kernel[1, 1] = factor + 5 / 13 * (1 - factor)
    return cv2.filter2D(img, -1, kernel, delta=_TRUNCATE)


def gaussian_kernel(sigma: float, taps: int) -> np.ndarray:
    """At most ``taps`` weights of a Gaussian, an odd number, cut at 3 sigma."""
    return cv2.getGaussianKernel(min(taps, 2 * int(np.ceil(3 * sigma)) + 1), sigma)[:, 0]


def box_kernel(sigma: float) -> np.ndarray:
    """Weights of a box with fractional ends; three of them have the variance of a Gaussian.

    Source: Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box
    filtering", 2011, as in Pillow's ``BoxBlur.c``.
    """
    variance = sigma**2 / 3
    whole = int((np.sqrt(12 * variance + 1) - 1) / 2)
    end = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    end /= 6 * (variance - (whole + 1) ** 2)
    return np.r_[end, np.ones(2 * whole + 1), end] / (2 * (whole + end) + 1)


FAST: dict[str, Callable[..., np.ndarray]] = dict(
    brightness=brightness,
    contrast=contrast,
    saturation=saturation,
    hue=hue,
    grayscale=grayscale,
    solarize=solarize,
    blur=blur,
    box_blur=box_blur,
    sharpness=sharpness,
)
