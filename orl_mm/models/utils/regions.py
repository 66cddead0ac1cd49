"""Regions of an image as tensors: label maps to grids, pooling, the loss.

Shape shorthand: B images, M regions, C or D channels, H x W the fine grid,
h x w the coarse one. Label maps hold ids 0..M-1.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.utils import _pair

from .views import Size


@lru_cache(maxsize=64)
def _cells(
    size: tuple[int, int], grid: tuple[int, int], device: str
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
    """Which pixels lie in which cell of adaptive average pooling.

    Returns:
        tuple: ``rows`` and ``cols`` of the memberships (a pixel on the border of two cells has
        two), None where they are all pixels in order; their ``cell``, flat, and ``share`` of it.
    """
    axes = []
    for length, cells in zip(size, grid, strict=True):
        edges = [(i * length // cells, -(-(i + 1) * length // cells)) for i in range(cells)]
        pixel = torch.cat([torch.arange(*edge) for edge in edges])
        cell = torch.cat([torch.full((b - a,), i) for i, (a, b) in enumerate(edges)])
        count = torch.cat([torch.full((b - a,), b - a) for a, b in edges])
        axes.append((None if len(pixel) == length else pixel.to(device), cell, count))
    (rows, row_cell, row_count), (cols, col_cell, col_count) = axes
    cell = (row_cell[:, None] * grid[1] + col_cell).flatten()
    share = 1 / (row_count[:, None] * col_count).flatten().float()
    return rows, cols, cell.to(device), share.to(device)


def downsample_regions(labels: Tensor, num_regions: int, size: Size) -> Tensor:
    """The share of each cell of a coarse grid that each region covers.

    Equal to ``adaptive_avg_pool2d(one_hot(labels), size)``, computed by counting
    labels, without the one-hot tensor (100 x 224 x 224 an image).

    Args:
        labels (Tensor): (B, H, W) ids in 0..num_regions-1, any integer type.
        num_regions (int): M, at least the largest id + 1.
        size (int or tuple): (h, w) of the coarse grid.

    Returns:
        Tensor: (B, M, h, w) float32 in [0, 1]; sums to 1 over M.

    Raises:
        ValueError: ``labels`` is not (B, H, W), or (checked on the CPU, where
            it costs no synchronisation) an id lies outside 0..M-1.
    """
    if labels.dim() != 3:
        raise ValueError(f'labels must be (B, H, W), got {tuple(labels.shape)}')
    _check_ids(labels, num_regions)
    (b, height, width), (h, w) = labels.shape, _pair(size)
    rows, cols, cell, share = _cells((height, width), (h, w), str(labels.device))
    if rows is not None:
        labels = labels.index_select(1, rows)
    if cols is not None:
        labels = labels.index_select(2, cols)
    index = torch.add(cell, labels.flatten(1), alpha=h * w)
    shares = torch.zeros(b, num_regions * h * w, device=labels.device)
    # All pixels of a cell add the same number, so the sum is the same in any order.
    shares.scatter_add_(1, index, share.expand_as(index))
    return shares.view(b, num_regions, h, w)


def downsample_regions_bilinear(labels: Tensor, num_regions: int, size: Size) -> Tensor:
    """One-hot masks resized bilinearly without anti-aliasing, as the public R2O code does.

    Each coarse cell reads the four pixels around its center; for an even
    reduction that is the mean of the central 2 x 2 pixels of the cell, and
    pixels further out do not count (projects/r2o/README.md, row 11). Computed per tap, so the
    full-resolution one-hot tensor is never built.

    Args and shapes as in :func:`downsample_regions`.
    """
    _check_ids(labels, num_regions)
    (b, height, width), (h, w) = labels.shape, _pair(size)
    out = torch.zeros(b, num_regions, h, w, device=labels.device)
    rows, cols = (_bilinear_taps(n, m, str(labels.device)) for n, m in ((height, h), (width, w)))
    for row, row_weight in rows:
        for col, col_weight in cols:
            ids = labels[:, row][:, :, col].long().unsqueeze(1)
            out.scatter_add_(1, ids, (row_weight[:, None] * col_weight).expand_as(ids))
    return out


@lru_cache(maxsize=64)
def _bilinear_taps(length: int, cells: int, device: str):
    """The two taps of linear interpolation at each cell, ``align_corners=False``."""
    pos = ((torch.arange(cells, dtype=torch.float64) + 0.5) * length / cells - 0.5).clamp_(min=0)
    low = pos.floor().long().clamp_(max=length - 1)
    high = (low + 1).clamp_(max=length - 1)
    part = (pos - low).float()
    return [(low.to(device), (1 - part).to(device)), (high.to(device), part.to(device))]


def _check_ids(labels: Tensor, num_regions: int) -> None:
    if labels.device.type == 'cpu' and labels.numel():
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= num_regions:
            raise ValueError(
                f'region ids must lie in 0..{num_regions - 1}, got {low}..{high}; '
                'pass num_regions = the largest id of the batch + 1'
            )


def mask_pool(feats: Tensor, masks: Tensor, min_area: float = 0.0) -> Tensor:
    """Average the features inside each mask, equation 2.1.

    Args:
        feats (Tensor): (B, C, h, w).
        masks (Tensor): (B, M, h, w), weights >= 0.
        min_area (float): Divide by at least this much. 0 gives the mean of
            equation 2.1; 1 is what the public code does: masks that cover less
            than one cell shrink towards zero (projects/r2o/README.md, row 12).

    Returns:
        Tensor: (B, M, C); zeros for an empty mask.

    Raises:
        ValueError: The grids or batch sizes differ.
    """
    if feats.shape[0] != masks.shape[0] or feats.shape[-2:] != masks.shape[-2:]:
        raise ValueError(
            f'features {tuple(feats.shape)} and masks {tuple(masks.shape)} must share '
            'the batch size and the grid; resize the masks to the grid of the features'
        )
    # Weights in fp32: the smallest divisor would be zero in fp16, and an empty
    # mask, although nobody reads its row, would send NaN to every feature.
    masks = masks.float().flatten(2)
    floor = max(min_area, torch.finfo(torch.float32).tiny)
    weights = (masks / masks.sum(-1, keepdim=True).clamp(min=floor)).to(feats.dtype)
    return torch.bmm(weights, feats.flatten(2).transpose(1, 2))


def region_weights(valid: Tensor, average: str = 'image') -> Tensor:
    """What each region of a batch contributes to the loss; sums to 1 (or to 0).

    Args:
        valid (Tensor): (B, M) bool, regions present in both views.
        average (str): ``'image'``: mean over the M' regions of an image, then
            over the images that have any (equation 2.5). ``'region'``: one mean
            over all regions of the batch (the public code, projects/r2o/README.md row 21).

    Returns:
        Tensor: (B, M) float32.

    Raises:
        ValueError: Unknown ``average``.
    """
    mass = valid.float()
    if average == 'region':
        return mass / mass.sum().clamp(min=1)
    if average != 'image':
        raise ValueError(f"average must be 'image' or 'region', got {average!r}")
    per_image = mass.sum(1, keepdim=True)
    images = (per_image > 0).sum().clamp(min=1)
    return mass / per_image.clamp(min=1) / images


def byol_distance(pred: Tensor, target: Tensor) -> Tensor:
    """``2 - 2 cos``, equation 2.4, over the last axis, in fp32; gradient to ``pred`` alone."""
    pred = F.normalize(pred.float(), dim=-1)
    target = F.normalize(target.detach().float(), dim=-1)
    return 2 - 2 * (pred * target).sum(-1)


def region_loss(pred: Tensor, target: Tensor, valid: Tensor, average: str = 'image') -> Tensor:
    """BYOL's loss over the regions of a batch, one direction: equations 2.4 and 2.5.

    Args:
        pred (Tensor): (B, M, D) predictions of the online network.
        target (Tensor): (B, M, D) projections of the target network; no gradient.
        valid (Tensor): (B, M) bool, regions present in both views.
        average (str): See :func:`region_weights`.

    Returns:
        Tensor: Scalar in [0, 4]; 0, still connected to ``pred``, without any
        valid region.

    Raises:
        ValueError: Shapes do not agree.
    """
    if pred.shape != target.shape or pred.shape[:2] != valid.shape:
        raise ValueError(
            f'pred {tuple(pred.shape)} and target {tuple(target.shape)} must be '
            f'(B, M, D) with valid {tuple(valid.shape)} = (B, M)'
        )
    weights = region_weights(valid, average)
    # Rows that do not count may hold anything, NaN included: they are replaced
    # before the formula, so that neither the loss nor its gradient sees them.
    hole = ~valid.unsqueeze(-1)
    distance = byol_distance(pred.masked_fill(hole, 1.0), target.masked_fill(hole, 1.0))
    return (distance * weights).sum()
