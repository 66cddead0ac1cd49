"""Images as registration sees them: squashed, grey, with even contrast."""

import cv2
import numpy as np

from orl_mm.structures.view_geometry import ViewGeometry

FLOOR = 5.0  # grey levels of noise: flat neighbourhoods are not blown up
CLIP = 3.0


def to_grey(img: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of an image (H, W, 3) BGR or (H, W), uint8; grey triples stay as they are."""
    if img.dtype != np.uint8 or img.ndim not in (2, 3) or img.ndim == 3 and img.shape[2] != 3:
        raise ValueError(
            f'an image must be (H, W, 3) BGR or (H, W) grey, uint8; got {img.shape} {img.dtype}'
        )
    return img if img.ndim == 2 else cv2.cvtColor(img, cv2.COLOR_BGR2GRAY)


def squash(grey: np.ndarray, size: int) -> np.ndarray:
    """The whole image (H, W) uint8 squashed to (size, size), whatever its aspect."""
    return ViewGeometry.whole(*grey.shape).apply_image(grey, size)


def prepare(grey: np.ndarray, size: int, contrast: float) -> np.ndarray:
    """What Elastix is given of an image.

    With v the grey levels and m, s their mean and standard deviation under a Gaussian window:
    clip((v - m) / sqrt(s^2 + FLOOR^2), -CLIP, CLIP). Correlation then compares edges and
    textures, not exposure, collimation or how much of the abdomen is in the picture.

    Args:
        grey (np.ndarray): (H, W) uint8.
        size (int): Side S of the result.
        contrast (float): Sigma of the window as a share of S; 0: grey levels.

    Returns:
        np.ndarray: (S, S) float32.
    """
    values = squash(grey, size).astype(np.float32)
    if not contrast:
        return values
    sigma = contrast * size

    def window(v):
        return cv2.GaussianBlur(v, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)

    values -= window(values)
    deviation = np.sqrt(window(values * values) + FLOOR**2)
    return np.clip(values / deviation, -CLIP, CLIP)
