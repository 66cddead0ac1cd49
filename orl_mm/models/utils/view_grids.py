"""Where the cells of a view's feature map lie in the image, and which of two views meet.

Shape shorthand: B images, h x w cells. A view is (x1, y1, x2, y2, flip), as
``ViewGeometry.to_tensor`` has it: the edges of its box in [0, 1] of the image's width and
height, then 1 where it was mirrored left-right after the crop.
"""

from typing import Tuple, Union

import torch
from torch import Tensor

Size = Union[int, Tuple[int, int]]


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
        raise ValueError('views must end with 5 numbers, x1, y1, x2, y2 and flip, got '
                         f'{tuple(views.shape)}')
    h, w = _pair(size)
    x1, y1, x2, y2, flip = (v.unsqueeze(-1) for v in views.unbind(-1))
    across, down = _middles(w, views), _middles(h, views)
    across = torch.where(flip.bool(), across.flip(0), across)
    x = x1 + across * (x2 - x1)
    y = y1 + down * (y2 - y1)
    grid = (*views.shape[:-1], h, w)
    return torch.stack([x.unsqueeze(-2).expand(grid), y.unsqueeze(-1).expand(grid)], -1)


def _middles(cells: int, like: Tensor) -> Tensor:
    """(j + 0.5) / cells for each cell of a line."""
    return (torch.arange(cells, device=like.device, dtype=like.dtype) + 0.5) / cells


def _pair(size: Size) -> Tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
