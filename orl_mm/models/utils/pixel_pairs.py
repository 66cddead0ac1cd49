"""Cells of two views' feature maps that show the same place of the image.

Shape shorthand: B images, h x w the grid of view 1, N = h * w its cells row by row, P
drawn pairs. Nothing here waits for the device.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .view_grids import Size, _pair, cell_centers


class PixelPairs(NamedTuple):
    """P pairs of cells of each image.

    Attributes:
        first (Tensor): (B, P) int64 cells of view 1, row by row.
        second (Tensor): (B, P) int64 cells of view 2.
        valid (Tensor): (B, P) bool: both views show it. An image whose views share fewer
            than P cells has fewer pairs; what stands in the place of the others is legal
            to look up and means nothing.
    """

    first: Tensor
    second: Tensor
    valid: Tensor


def match_cells(views: Tensor, size: Size, other_size: Size | None = None) -> tuple[Tensor, Tensor]:
    """For each cell of view 1, the cell of view 2 that its centre lies in.

    A place that lies on the edge of two cells may fall to either.

    Args:
        views (Tensor): (B, 2, 5): x1, y1, x2, y2 in [0, 1] of the whole image and flip 0 /
            1, of view 1 and view 2.
        size (int or tuple): (h, w) of the grid of view 1.
        other_size (int or tuple, optional): That of view 2; None: the same.

    Returns:
        tuple: (B, N) int64 cells of view 2, and (B, N) bool: view 2 shows this centre.

    Raises:
        ValueError: ``views`` is not (B, 2, 5).
    """
    if views.dim() != 3 or views.shape[1:] != (2, 5):
        raise ValueError(
            'views must be (B, 2, 5), x1, y1, x2, y2 and flip of two views, got '
            f'{tuple(views.shape)}'
        )
    h, w = _pair(size if other_size is None else other_size)
    centres = cell_centers(views[:, 0].float(), size).flatten(1, 2)
    x1, y1, x2, y2, flip = views[:, 1, :, None].float().unbind(1)
    x = (centres[..., 0] - x1) / (x2 - x1)
    y = (centres[..., 1] - y1) / (y2 - y1)
    x = torch.where(flip.bool(), 1 - x, x)
    shown = (x >= 0) & (x < 1) & (y >= 0) & (y < 1)
    cells = (y * h).long().clamp(0, h - 1) * w + (x * w).long().clamp(0, w - 1)
    return cells, shown


def draw_pixel_pairs(
    views: Tensor,
    size: Size,
    num_pairs: int,
    other_size: Size | None = None,
    generator: torch.Generator | None = None,
) -> PixelPairs:
    """Draw cells of view 1 that view 2 shows, uniformly and without replacement.

    Args:
        views, size, other_size: See :func:`match_cells`.
        num_pairs (int): P; at most as many as the grid has cells are drawn.
        generator (torch.Generator, optional): On the device of ``views``. None: the
            device's global one.
    """
    cells, shown = match_cells(views, size, other_size)
    scores = torch.rand(shown.shape, generator=generator, device=shown.device)
    scores, first = scores.masked_fill(~shown, -1.0).topk(min(num_pairs, shown.shape[1]), dim=1)
    return PixelPairs(first, cells.gather(1, first), scores >= 0)


def take_cells(feats: Tensor, cells: Tensor) -> Tensor:
    """The features of some cells: (B, D, h, w) and (B, P) -> (B, P, D)."""
    index = cells[:, None].expand(-1, feats.shape[1], -1)
    return feats.flatten(2).gather(2, index).transpose(1, 2)
