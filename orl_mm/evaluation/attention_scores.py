"""Scores of maps on a patch grid against parts of an image, exact without enlarging the maps.

A heads (or maps), R parts, N = h * w patches in row-major order; masks are (R, H, W) in
their own resolution and cover the same area as the map. A map enlarged by nearest
neighbor is constant over a patch, so pixel counts per patch are sufficient.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def patch_counts(
    masks: np.ndarray | Tensor, grid: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of each part, and all pixels, under each patch of a grid.

    Pixel y of H belongs to row floor(y h / H), as in ``F.interpolate(mode='nearest')``;
    columns alike. So H and W need not be multiples of the grid.

    Args:
        masks (array or Tensor): (R, H, W), 0 or 1 (bool, or any integers).
        grid (tuple): (h, w).

    Returns:
        tuple: (R, N) and (N,), int64.

    Raises:
        ValueError: Another number of axes, an empty image, or other values than 0 and 1.
    """
    masks = np.asarray(masks.cpu() if torch.is_tensor(masks) else masks)
    if masks.ndim != 3 or 0 in masks.shape[1:]:
        raise ValueError(f'masks must be (parts, H, W), got {masks.shape}')
    if masks.dtype.kind not in 'biu':
        raise ValueError(
            f'masks must be bool or integers, got {masks.dtype}; soft ones are maps, see on_grid'
        )
    if masks.size and not (masks.min() >= 0 and masks.max() <= 1):
        raise ValueError(
            f'masks must hold 0 and 1, got {masks.min()} to {masks.max()}: compare '
            'masks stored as 0 and 255 with 0 first'
        )
    pixels = np.ones(masks.shape[1:], np.uint8)[None]
    for axis, cells in zip((1, 2), grid, strict=False):
        masks, pixels = _sum_cells(masks, cells, axis), _sum_cells(pixels, cells, axis)
    return masks.reshape(len(masks), -1), pixels.reshape(-1)


def _sum_cells(x: np.ndarray, cells: int, axis: int) -> np.ndarray:
    """Sums over the pixels of each of ``cells`` cells along an axis; int64."""
    first = -(-np.arange(1, cells) * x.shape[axis] // cells)  # pixel of each cell but the first
    return np.stack([part.sum(axis, dtype=np.int64) for part in np.split(x, first, axis)], axis)


def average_precision(scores: np.ndarray, positives: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    r"""Average precision of every map for every part, over the pixels they stand for.

    .. math:: AP = \sum_n (R_n - R_{n-1}) P_n

    over the distinct values of a map from the highest on: scikit-learn's
    ``average_precision_score`` of the enlarged map and the full-resolution mask. Equal
    values are one threshold; a constant map scores the part's share of the image.

    Args:
        scores (np.ndarray): (A, N).
        positives (np.ndarray): (R, N), pixels of each part per patch; see
            :func:`patch_counts`. Leading axes are allowed, (..., R, N): all of them share
            ``pixels`` or the leading axes of it.
        pixels (np.ndarray): (N,) or (..., N), pixels per patch.

    Returns:
        np.ndarray: (..., A, R) float64; NaN for a part without a pixel.

    Raises:
        ValueError: Scores that are not finite, or shapes that do not belong together.
    """
    scores = np.asarray(scores)
    scores = scores if scores.dtype.kind == 'f' else scores.astype(np.float64)
    if (
        scores.ndim != 2
        or positives.shape[-1] != scores.shape[1] != 0
        or pixels.shape[-1] != scores.shape[1]
    ):
        raise ValueError(
            f'scores {scores.shape}, positives {positives.shape} and pixels '
            f'{pixels.shape} must be (A, N), (..., R, N) and (..., N)'
        )
    if not np.isfinite(scores).all():
        raise ValueError('a map holds values that are not finite: the network has diverged')
    found = []
    for row in scores:
        order, last = thresholds(row)
        found.append(sum_thresholds(positives[..., order], pixels[..., order], last))
    return np.stack(found, -2)


def thresholds(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patches from the highest value on, and the place of the last patch of each value."""
    order = np.argsort(-scores, kind='stable')
    ordered = scores[order]
    return order, np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(order) - 1)


def sum_thresholds(positives: np.ndarray, pixels: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The sum of :func:`average_precision` over patches in the order of :func:`thresholds`.

    Args:
        positives (np.ndarray): (..., R, N).
        pixels (np.ndarray): (..., N).
        last (np.ndarray): See :func:`thresholds`.

    Returns:
        np.ndarray: (..., R).
    """
    hits, seen = positives.cumsum(-1, dtype=np.float64), pixels.cumsum(-1, dtype=np.float64)
    if len(last) < pixels.shape[-1]:
        hits, seen = hits[..., last], seen[..., last]
    total = hits[..., -1]
    gained = np.diff(hits, axis=-1, prepend=0)
    gained *= hits
    gained /= np.maximum(seen, 1)[..., None, :]  # no pixel so far: nothing is gained
    with np.errstate(invalid='ignore'):
        return np.where(total > 0, gained.sum(-1) / total, np.nan)


def coverage(scores: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """The share of each part under patches above the map's mean.

    High average precision with low coverage is a head that looks at a few patches of its
    part. See :func:`orl_mm.models.utils.attention.attention_diagnostics`.

    Args:
        scores (np.ndarray): (A, N).
        positives (np.ndarray): (R, N).

    Returns:
        np.ndarray: (A, R) in [0, 1]; NaN for a part without a pixel.
    """
    above = scores > scores.mean(-1, keepdims=True, dtype=np.float64)  # exact for constant maps
    total = positives.sum(-1)
    with np.errstate(invalid='ignore'):
        return np.where(total > 0, above @ positives.T / total, np.nan)


def on_grid(maps: np.ndarray | Tensor, grid: tuple[int, int]) -> np.ndarray:
    """Maps or masks averaged over each patch: the best that a head can reach.

    ``F.adaptive_avg_pool2d``: where the grid does not divide a size, a pixel on a border
    counts for both patches. The true masks on the grid give the upper bound of every score.

    Args:
        maps (array or Tensor): (R, H, W), of any type.
        grid (tuple): (h, w).

    Returns:
        np.ndarray: (R, h, w) float64.
    """
    return F.adaptive_avg_pool2d(torch.as_tensor(maps).double().cpu()[None], grid)[0].numpy()


def choose_head(scores: np.ndarray, candidates: Sequence[int]) -> int:
    """The head with the highest mean over images, the first among equals.

    Args:
        scores (np.ndarray): (images, A).
        candidates (sequence): The heads to choose from.
    """
    means = scores[:, list(candidates)].mean(0)
    return int(candidates[int(means.argmax())])
