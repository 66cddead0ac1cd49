"""An analytic picture with parts, which can be sampled after any deformation without resampling."""

from typing import Callable, Tuple

import numpy as np

PARTS = ('disc', 'bar', 'lid')  # the lid overlaps the disc


def picture(x: np.ndarray, y: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Grey levels (S, S) uint8 and masks (3, S, S) bool at points in [0, 1]."""
    disc = ((x - .35) / .17)**2 + ((y - .55) / .22)**2 < 1
    bar = (abs(x - .7) < .08) & (abs(y - .5) < .25)
    lid = ((x - .35) / .15)**2 + ((y - .4) / .1)**2 < 1
    waves = np.sin(23 * x + 3 * y) + np.sin(17 * y - 6 * x) + np.sin(29 * (x + .7 * y))
    grey = 90 + 14 * waves + 70 * disc - 50 * bar + 30 * lid
    grey = grey * (.7 + .5 * np.exp(-((x - .5)**2 + (y - .5)**2) / .15))
    return np.clip(grey, 0, 255).astype(np.uint8), np.stack([disc, bar, lid])


def centres(size: int) -> Tuple[np.ndarray, np.ndarray]:
    """x and y of pixel centres in [0, 1], (S, S) each."""
    c = (np.arange(size) + .5) / size
    return tuple(np.meshgrid(c, c))


def sample(size: int, deform: Callable = lambda x, y: (x, y)):
    """The picture seen through a deformation, and where each pixel's content comes from.

    Returns:
        tuple: grey (S, S) uint8, masks (3, S, S) bool, positions (S, S, 2) in pixels with
        centres at integers.
    """
    x, y = deform(*centres(size))
    grey, masks = picture(x, y)
    return grey, masks, np.stack([x, y], -1) * size - .5


def affine(x, y):
    """Turned by 5 degrees, scaled by 1.08 and 0.94, shifted."""
    c, s = np.cos(np.deg2rad(5)), np.sin(np.deg2rad(5))
    u, v = x - .53, y - .48
    return 1.08 * (c * u - s * v) + .5, .94 * (s * u + c * v) + .5


def smooth(x, y):
    """A smooth, invertible field: 3 % of the side."""
    return x + .03 * np.sin(2 * np.pi * y) + .01, y + .03 * np.cos(2 * np.pi * x) - .015


def wide(x, y):
    """The picture cut much closer and off centre: beyond the reach of a descent."""
    return .7 * (x - .5) + .42, .75 * (y - .5) + .55
