"""Images for registration: square, gray, with even contrast; and warping them."""

import cv2
import numpy as np

from orl_mm.structures.view_geometry import ViewGeometry

FLOOR = 5.0  # gray levels of noise: flat neighborhoods are not amplified
CLIP = 3.0


def to_grey(img: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of an image (H, W, 3) BGR or (H, W), uint8; gray triples keep their values."""
    if img.dtype != np.uint8 or img.ndim not in (2, 3) or img.ndim == 3 and img.shape[2] != 3:
        raise ValueError(
            f'an image must be (H, W, 3) BGR or (H, W) gray, uint8; got {img.shape} {img.dtype}'
        )
    return img if img.ndim == 2 else cv2.cvtColor(img, cv2.COLOR_BGR2GRAY)


def squash(grey: np.ndarray, size: int) -> np.ndarray:
    """The whole image (H, W) uint8 resized to (size, size), whatever its aspect ratio."""
    return ViewGeometry.whole(*grey.shape).apply_image(grey, size)


def prepare(grey: np.ndarray, size: int, contrast: float) -> np.ndarray:
    """An image as Elastix gets it.

    With v the gray levels and m, s their mean and standard deviation under a Gaussian window:
    clip((v - m) / sqrt(s^2 + FLOOR^2), -CLIP, CLIP). Correlation then compares edges and
    textures, not exposure, collimation or how much of the abdomen is visible.

    Args:
        grey (np.ndarray): (H, W) uint8.
        size (int): Side S of the result.
        contrast (float): Sigma of the window as a share of S; 0: plain gray levels.

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


def warp_labels(labels: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Warp labels of the exemplar to the image by nearest neighbor; 0 outside of the exemplar.

    The same as Transformix with ``FinalBSplineInterpolationOrder`` 0.

    Args:
        labels (np.ndarray): (S, S), or (R, S, S), of any type.
        positions (np.ndarray): (S, S, 2), see
            :class:`~orl_mm.registration.elastix.Deformation`.
    """
    height, width = labels.shape[-2:]
    x, y = (np.floor(positions[..., i] + 0.5) for i in range(2))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = (np.where(inside, v, 0).astype(np.intp) for v in (x, y))
    return np.where(inside, labels[..., y, x], 0).astype(labels.dtype)


def warp_image(image: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Warp an image (S, S) float32 of the exemplar bilinearly; 0 outside of the exemplar."""
    x, y = np.ascontiguousarray(positions.transpose(2, 0, 1), np.float32)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
