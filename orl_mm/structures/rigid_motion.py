"""A rotation and a shift of a whole image, for its pixels, maps and points."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

_FILTERS = dict(nearest=cv2.INTER_NEAREST, bilinear=cv2.INTER_LINEAR, bicubic=cv2.INTER_CUBIC)


@dataclass(frozen=True)
class RigidMotion:
    """Rotation of an image about its center, then a shift; the size does not change.

    Convention:
        Coordinates are continuous, x to the right and y downwards, (x, y) order; pixel i
        covers [i, i + 1), as in :class:`~orl_mm.structures.view_geometry.ViewGeometry`,
        which crops the moved image.

    Args:
        angle (float): Degrees, counter-clockwise as the image is seen.
        dx, dy (float): Shift in pixels, to the right and downwards.
        height, width (int): Size of the image.
    """

    angle: float
    dx: float
    dy: float
    height: int
    width: int

    @classmethod
    def sample(
        cls,
        height: int,
        width: int,
        angle: float = 10.0,
        angle_prob: float = 0.5,
        shift: float = 0.1,
        shift_prob: float = 0.5,
    ) -> 'RigidMotion':
        """Draw from numpy's global generator.

        Args:
            height, width (int): Size of the image.
            angle (float): Degrees; uniform in [-angle, angle].
            shift (float): Share of the width and of the height; dx and dy are uniform in
                [-shift, shift] of them, independently.
            angle_prob, shift_prob (float): Probability of a rotation, of a shift.
        """
        # Always five draws, so that one option does not change what another one draws.
        chance, draw = np.random.rand(2), np.random.uniform(-1, 1, 3)
        turn = angle * draw[0] if chance[0] < angle_prob else 0.0
        dx, dy = shift * draw[1:] if chance[1] < shift_prob else (0.0, 0.0)
        return cls(float(turn), float(dx * width), float(dy * height), height, width)

    @property
    def is_identity(self) -> bool:
        """Whether nothing moves."""
        return not (self.angle or self.dx or self.dy)

    def matrix(self) -> np.ndarray:
        """(2, 3) float64: x' = A x + b in continuous pixel coordinates."""
        a = math.radians(self.angle)
        turn = np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])
        center = np.array([self.width / 2, self.height / 2])
        shift = center - turn @ center + (self.dx, self.dy)
        return np.concatenate([turn, shift[:, None]], 1)

    def apply_points(self, points: np.ndarray) -> np.ndarray:
        """Where points (..., 2) of the image move to; they may leave it."""
        m = self.matrix()
        return np.asarray(points, np.float64) @ m[:, :2].T + m[:, 2]

    def apply_image(
        self, img: np.ndarray, interpolation: str = 'bilinear', fill: int = 0
    ) -> np.ndarray:
        """Move an image.

        Args:
            img (np.ndarray): (H, W, C) or (H, W) uint8 or float32.
            interpolation (str): nearest, bilinear or bicubic.
            fill (int): Value of pixels from outside the image.

        Returns:
            np.ndarray: As given.

        Raises:
            ValueError: An image of another size, another interpolation.
        """
        if tuple(img.shape[:2]) != (self.height, self.width):
            raise ValueError(
                f'this motion belongs to an image of {self.height} x {self.width} '
                f'(H x W), the array has {img.shape[0]} x {img.shape[1]}'
            )
        if interpolation not in _FILTERS:
            raise ValueError(f'interpolation={interpolation!r} is not one of {sorted(_FILTERS)}')
        return _warp(img, self.matrix(), _FILTERS[interpolation], fill)

    def apply_maps(self, maps: np.ndarray) -> np.ndarray:
        """Move maps of the whole image, in any resolution of their own; 0 from outside.

        Args:
            maps (np.ndarray): (R, h, w) float32.

        Returns:
            np.ndarray: (R, h, w) float32, bilinear.
        """
        scale = np.array([maps.shape[2] / self.width, maps.shape[1] / self.height])
        m = self.matrix()
        m = np.concatenate([m[:, :2] * scale[:, None] / scale, (m[:, 2] * scale)[:, None]], 1)
        return np.stack([_warp(x, m, cv2.INTER_LINEAR, 0) for x in maps])


def _warp(img: np.ndarray, matrix: np.ndarray, flags: int, fill: int) -> np.ndarray:
    # OpenCV counts from the center of the first pixel.
    matrix = matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    size: tuple[int, int] = (img.shape[1], img.shape[0])
    return cv2.warpAffine(
        img, matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=(fill,) * 4
    )
