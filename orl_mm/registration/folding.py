"""Whether a deformation folds: the determinant of its Jacobian."""

import numpy as np


def jacobian_determinant(positions: np.ndarray) -> np.ndarray:
    """det dT/dx of T given at pixels, by central differences (one-sided at the border).

    1 keeps areas, 2 means that a pixel of the image shows two of the exemplar, and 0 or
    less that the exemplar is folded over itself there.

    Args:
        positions (np.ndarray): (H, W, 2), T's (x, y) in pixels.

    Returns:
        np.ndarray: (H, W) float64.

    Raises:
        ValueError: Fewer than 2 pixels along a side.
    """
    if positions.ndim != 3 or positions.shape[2] != 2 or min(positions.shape[:2]) < 2:
        raise ValueError(f'positions must be (H, W, 2) with H, W >= 2, got {positions.shape}')
    dy, dx = np.gradient(np.asarray(positions, np.float64), axis=(0, 1))
    return dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]


def folded_share(positions: np.ndarray) -> float:
    """Share of the pixels where the deformation folds (or is not finite), in [0, 1]."""
    return float(np.mean(~(jacobian_determinant(positions) > 0)))
