"""An analytic picture with parts, which can be sampled after any deformation without resampling."""

from collections.abc import Callable

import numpy as np

PARTS = ('disc', 'bar', 'lid')  # the lid overlaps the disc


def picture(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grey levels (S, S) uint8 and masks (3, S, S) bool at points in [0, 1]."""
    disc = ((x - 0.35) / 0.17) ** 2 + ((y - 0.55) / 0.22) ** 2 < 1
    bar = (abs(x - 0.7) < 0.08) & (abs(y - 0.5) < 0.25)
    lid = ((x - 0.35) / 0.15) ** 2 + ((y - 0.4) / 0.1) ** 2 < 1
    waves = np.sin(23 * x + 3 * y) + np.sin(17 * y - 6 * x) + np.sin(29 * (x + 0.7 * y))
    grey = 90 + 14 * waves + 70 * disc - 50 * bar + 30 * lid
    grey = grey * (0.7 + 0.5 * np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.15))
    return np.clip(grey, 0, 255).astype(np.uint8), np.stack([disc, bar, lid])


def centers(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of pixel centers in [0, 1], (S, S) each."""
    c = (np.arange(size) + 0.5) / size
    return tuple(np.meshgrid(c, c))


def sample(size: int, deform: Callable = lambda x, y: (x, y)):
    """The picture seen through a deformation, and where each pixel's content comes from.

    Returns:
        tuple: grey (S, S) uint8, masks (3, S, S) bool, positions (S, S, 2) in pixels with
        centers at integers.
    """
    x, y = deform(*centers(size))
    grey, masks = picture(x, y)
    return grey, masks, np.stack([x, y], -1) * size - 0.5


def affine(x, y):
    """Turned by 5 degrees, scaled by 1.08 and 0.94, shifted."""
    c, s = np.cos(np.deg2rad(5)), np.sin(np.deg2rad(5))
    u, v = x - 0.53, y - 0.48
    return 1.08 * (c * u - s * v) + 0.5, 0.94 * (s * u + c * v) + 0.5


def smooth(x, y):
    """A smooth, invertible field: 3 % of the side."""
    return x + 0.03 * np.sin(2 * np.pi * y) + 0.01, y + 0.03 * np.cos(2 * np.pi * x) - 0.015


def wide(x, y):
    """The picture cut much closer and off center: beyond the reach of a descent."""
    return 0.7 * (x - 0.5) + 0.42, 0.75 * (y - 0.5) + 0.55
