"""Label maps as views see them, and draws among the regions that are there.

Shape shorthand: B images, H x W the label map, h x w the view or its coarse grid, N
cells, R draws. Nothing here waits for the device.
"""

import torch
from torch import Tensor

from .regions import Size, _pair, downsample_regions

# Boxes are float32 shares of the image. A pixel's centre that lies on the edge of two
# pixels by exact arithmetic may come out just below it; the nearest one that does not
# lie on an edge is 1 / (2 w) away from the next, w the side of the view.
_ON_THE_EDGE = 2.0**-11


def crop_labels(labels: Tensor, views: Tensor, size: Size) -> Tensor:
    """Cut views out of label maps by nearest neighbour, flip included.

    :meth:`ViewGeometry.apply_labels` for a batch, on its device: a cell of the view
    takes the label of the pixel under its centre. Equal to it where label map and image
    have one size (sides up to 1000); a map that was squashed is read at the same place.

    Args:
        labels (Tensor): (B, H, W) of any integer type, each the whole image.
        views (Tensor): (B, 5): x1, y1, x2, y2 in [0, 1] of the whole image, flip 0 / 1.
        size (int or tuple): (h, w) of the view.

    Returns:
        Tensor: (B, h, w), same dtype as ``labels``.

    Raises:
        ValueError: ``labels`` is not (B, H, W), or ``views`` not (B, 5).
    """
    if labels.dim() != 3 or views.shape != (len(labels), 5):
        raise ValueError(
            f'labels must be (B, H, W) and views (B, 5) = x1, y1, x2, y2, flip, got '
            f'{tuple(labels.shape)} and {tuple(views.shape)}'
        )
    (height, width), (h, w) = labels.shape[1:], _pair(size)
    x1, y1, x2, y2, flip = views.to(labels.device, torch.float32).unbind(1)
    rows, cols = _pixels(y1, y2, height, h), _pixels(x1, x2, width, w)
    cols = torch.where(flip.bool()[:, None], cols.flip(1), cols)
    labels = labels.gather(1, rows[:, :, None].expand(-1, -1, width))
    return labels.gather(2, cols[:, None].expand(-1, h, -1))


def _pixels(start: Tensor, stop: Tensor, length: int, cells: int) -> Tensor:
    """(B, cells): the pixel under the centre of each cell of [start, stop)."""
    centre = (torch.arange(cells, device=start.device) + 0.5) / cells
    position = (start[:, None] + (stop - start)[:, None] * centre) * length
    return (position + _ON_THE_EDGE).long().clamp_(0, length - 1)


def majority_regions(labels: Tensor, num_regions: int, size: Size) -> Tensor:
    """The region that covers most of each cell of a coarse grid.

    One-hot masks averaged over the cells, then arg-max, as DetCon brings its masks to
    the grid of the features; of equal shares the lowest id.

    Args:
        labels (Tensor): (B, H, W) ids in 0..num_regions-1, any integer type.
        num_regions (int): At least the largest id + 1.
        size (int or tuple): (h, w) of the grid.

    Returns:
        Tensor: (B, h, w) int64.
    """
    return downsample_regions(labels, num_regions, size).argmax(1)


def draw_regions(cells: Tensor, num_draws: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw regions that are there, uniformly, independently and with replacement.

    A region that covers many cells is drawn no more often than one that covers few.

    Args:
        cells (Tensor): (B, N) integers, the region of each cell.
        num_draws (int): R.
        generator (torch.Generator, optional): On the device of ``cells``. None: the
            device's global one.

    Returns:
        Tensor: (B, R), ids of ``cells``, same dtype.
    """
    ordered = cells.sort(1).values
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    number = first.cumsum(1)  # (B, N): 1 for the cells of the lowest id, 2 of the next ...
    share = torch.rand(len(cells), num_draws, generator=generator, device=cells.device)
    wanted = (share * number[:, -1:]).long() + 1
    # Where a number begins; rounding must not lead beyond the last one.
    return ordered.gather(1, torch.searchsorted(number, wanted.minimum(number[:, -1:])))
