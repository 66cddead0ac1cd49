"""What the boxes of views mean for masks, label maps and the cells of feature maps.

Shape shorthand: B images, M regions, H x W the whole image or a map of it, h x w the view or
its grid. A view is (x1, y1, x2, y2, flip) as ``ViewGeometry.to_tensor`` gives it: the edges of
its half-open box in [0, 1] of the image's width and height, then 1 if it was mirrored
left-right after the crop. Nothing in this file waits for the device.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.modules.utils import _pair

Size = int | Sequence[int]

# Boxes are float32 shares of the image. A pixel's center that lies on the edge of two
# pixels by exact arithmetic may come out just below it; the nearest one that does not
# lie on an edge is 1 / (2 w) away from the next, w the side of the view.
_ON_THE_EDGE = 2.0**-11


def crop_masks(masks: Tensor, views: Tensor, size: Size, aligned: bool = True) -> Tensor:
    """Masks of the whole image as a view sees them: ROIAlign, then flip.

    ROIAlign (He 2017; average, adaptive sampling ratio as with
    ``sampling_ratio=0``) of a box is separable: its samples lie on a grid, so
    the crop is one small matrix product per axis, the flip a reversed matrix.

    Args:
        masks (Tensor): (B, M, H, W).
        views (Tensor): (B, 5), or (B, V, 5) for V views: x1, y1, x2, y2 in [0, 1] of the
            whole image, a box with an area, and flip, 0 or 1 (left-right, after the crop).
        size (int or tuple): (h, w) of the result.
        aligned (bool): Pixel centers at half-integers. ``False`` shifts
            everything by half a cell (Detectron's first ROIAlign, projects/r2o/README.md row 18).

    Returns:
        Tensor: (B, M, h, w), or (B, V, M, h, w), same dtype as ``masks``.

    Raises:
        ValueError: ``views`` has another shape.
    """
    if views.dim() not in (2, 3) or (len(views), views.shape[-1]) != (len(masks), 5):
        raise ValueError(
            f'views must be ({len(masks)}, 5) = x1, y1, x2, y2, flip, or ({len(masks)}, V, 5), '
            f'for masks {tuple(masks.shape)}, got {tuple(views.shape)}'
        )
    if views.dim() == 2:
        return crop_masks(masks, views[:, None], size, aligned)[:, 0]
    (b, m, height, width), (h, w) = masks.shape, _pair(size)
    views = views.to(masks.device, torch.float32)
    boxes = views[..., :4].unflatten(-1, (2, 2))  # (B, V, 2 corners, x and y)
    if (height, h) == (width, w):  # both axes at once
        cols, rows = _roi_align_matrix(boxes, height, h, aligned).unbind(2)
    else:
        cols = _roi_align_matrix(boxes[..., :1], width, w, aligned)[:, :, 0]
        rows = _roi_align_matrix(boxes[..., 1:], height, h, aligned)[:, :, 0]
    cols = torch.where(views[..., 4, None, None] > 0.5, cols.flip(2), cols)
    rows, cols = rows.to(masks.dtype), cols.to(masks.dtype)
    # Along W for all views, then along H for each: (B, M H, W) @ (B, W, V w), and
    # (B V, h, H) @ (B V, H, M w). Not in half precision under autocast: areas decide which
    # pairs exist.
    with torch.autocast(masks.device.type, enabled=False):
        half = torch.bmm(masks.flatten(1, 2), cols.flatten(1, 2).transpose(1, 2))
        half = half.view(b, m, height, -1, w).permute(0, 3, 2, 1, 4).reshape(-1, height, m * w)
        return torch.bmm(rows.flatten(0, 1), half).view(b, -1, h, m, w).transpose(2, 3).contiguous()


@lru_cache(maxsize=16)
def _samples(length: int, bins: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of the pixels, the bins (as a column), and centers of the samples of a bin."""
    most = -(-length // bins) + 1  # no box is larger than the image
    pixel, bin_, step = (torch.arange(n, device=device).float() for n in (length, bins, most))
    return pixel, bin_[:, None], step + 0.5


def _roi_align_matrix(boxes: Tensor, length: int, bins: int, aligned: bool) -> Tensor:
    """ROIAlign along some axes as matrices (..., A, bins, length).

    Follows mmcv's and torchvision's kernel: ``ceil(roi / bins)`` samples a bin,
    samples beyond one pixel outside read zero, the others are clamped.

    Args:
        boxes (Tensor): (..., 2, A): start and stop in [0, 1].
    """
    pixel, bin_, step = _samples(length, bins, str(boxes.device))
    edges = boxes * length
    if aligned:
        edges = edges - 0.5
    start, stop = edges[..., None, None].unbind(-4)
    bin_size = (stop - start) / bins
    if not aligned:
        bin_size = bin_size.clamp(min=1.0 / bins)
    samples = bin_size.ceil().clamp_(min=1.0)
    position = torch.addcmul(start, bin_size, bin_)
    position = torch.addcmul(position, step, bin_size / samples)  # (..., A, bins, most)
    weight = (step < samples) / samples
    if not aligned:
        weight = weight * (position <= length)
    position = position.clamp_(0, length - 1)[..., None]
    # Linear interpolation between the two pixels that are less than 1 away.
    near = (1 - (position - pixel).abs_()).clamp_(min=0)
    return near.mul_(weight[..., None]).sum(-2)


def crop_labels(labels: Tensor, views: Tensor, size: Size) -> Tensor:
    """Cut views out of label maps by nearest neighbor, flip included.

    :meth:`ViewGeometry.apply_labels` for a batch, on its device: a cell of the view
    takes the label of the pixel under its center. Equal to it where label map and image
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
    """(B, cells): the pixel under the center of each cell of [start, stop)."""
    center = (torch.arange(cells, device=start.device) + 0.5) / cells
    position = (start[:, None] + (stop - start)[:, None] * center) * length
    return (position + _ON_THE_EDGE).long().clamp_(0, length - 1)


def cell_centers(views: Tensor, size: Size) -> Tensor:
    """Centers of the cells of each view's grid, in shares of the whole image.

    Cell (row i, column j) of a view covers its part of the crop box: its center is
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


def _middles(cells: int, like: Tensor) -> Tensor:
    """(j + 0.5) / cells for each cell of a line."""
    return (torch.arange(cells, device=like.device, dtype=like.dtype) + 0.5) / cells
