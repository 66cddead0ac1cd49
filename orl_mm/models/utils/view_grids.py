"""Where the cells of a view's feature map lie in the image, and which of two views meet.

Shape shorthand: B images, h x w cells. A view is (x1, y1, x2, y2, flip), as
``ViewGeometry.to_tensor`` has it: the edges of its box in [0, 1] of the image's width and
height, then 1 where it was mirrored left-right after the crop.
"""

from typing import Union

import torch
from torch import Tensor

Size = Union[int, tuple[int, int]]


def cell_centers(views: Tensor, size: Size) -> Tensor:
    """Centres of the cells of each view's grid, in shares of the whole image.

    Cell (row i, column j) of a view covers its part of the crop box: its centre is
    ``x1 + (j + 0.5) / w * (x2 - x1)``, ``y1 + (i + 0.5) / h * (y2 - y1)``, the column counted
    from the right where the view was flipped. In pixels of an image of width W and height H
    it is that times (W, H), in the convention of ``ViewGeometry``: pixel k covers
    [k, k + 1). Shares are not isotropic: 0.1 of the width is not 0.1 of the height
    unless the image is square.

    Args:
        views (Tensor): (B, 5), or (..., 5).
        size (int or tuple): (h, w) of the grid.

    Returns:
        Tensor: (B, h, w, 2), or (..., h, w, 2): (x, y); flattened over h and w in the order
        of ``feats.flatten(2)``. Same device and dtype as ``views``.

    Raises:
        ValueError: ``views`` does not end with 5 numbers.
    """
    if views.dim() < 1 or views.shape[-1] != 5:
        raise ValueError(
            f'views must end with 5 numbers, x1, y1, x2, y2 and flip, got {tuple(views.shape)}'
        )
    h, w = _pair(size)
    x1, y1, x2, y2, flip = (v.unsqueeze(-1) for v in views.unbind(-1))
    across, down = _middles(w, views), _middles(h, views)
    across = torch.where(flip.bool(), across.flip(0), across)
    x = x1 + across * (x2 - x1)
    y = y1 + down * (y2 - y1)
    grid = (*views.shape[:-1], h, w)
    return torch.stack([x.unsqueeze(-2).expand(grid), y.unsqueeze(-1).expand(grid)], -1)


def near_cells(first: Tensor, second: Tensor, size: Size, ratio: float) -> Tensor:
    """Pairs of cells of two views that show nearly the same place, PixPro's positives.

    A pair is near where the distance of its centres is below ``ratio`` times the diagonal of
    a cell, of the view whose cells are larger (equation 1 of arXiv 2011.10043). Distances and
    diagonals are in shares of the image, as in PixPro's code: where the image is not square,
    "near" is an ellipse of the image's proportions. For distances in pixels multiply both
    views by (W, H, W, H, 1) first.

    Args:
        first, second (Tensor): (B, 5), two views of the same images.
        size (int or tuple): (h, w) of both grids.
        ratio (float): PixPro: 0.7.

    Returns:
        Tensor: (B, h * w, h * w) bool: cells of ``first``, cells of ``second``.

    Raises:
        ValueError: The views are not (B, 5) both.

    Source: ``regression_loss`` of github.com/zdaxie/PixPro, contrast/models/PixPro.py.
    """
    if first.shape != second.shape or first.dim() != 2:
        raise ValueError(
            'two views of the same images are (B, 5) and (B, 5), got '
            f'{tuple(first.shape)} and {tuple(second.shape)}'
        )
    a, b = (cell_centers(v, size).flatten(1, 2) for v in (first, second))
    squared = (a.unsqueeze(2) - b.unsqueeze(1)).square_().sum(-1)
    largest = torch.maximum(_squared_diagonal(first, size), _squared_diagonal(second, size))
    return squared < (ratio * ratio) * largest[:, None, None]


def _squared_diagonal(views: Tensor, size: Size) -> Tensor:
    """(B,): that of one cell, in shares of the image."""
    h, w = _pair(size)
    x1, y1, x2, y2, _ = views.unbind(-1)
    return ((x2 - x1) / w).square() + ((y2 - y1) / h).square()


def _middles(cells: int, like: Tensor) -> Tensor:
    """(j + 0.5) / cells for each cell of a line."""
    return (torch.arange(cells, device=like.device, dtype=like.dtype) + 0.5) / cells


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
