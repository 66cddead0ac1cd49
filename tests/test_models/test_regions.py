"""Regions as tensors, each formula against an independent calculation."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from orl_mm.models.utils import (
    RegionPairs,
    crop_masks,
    downsample_regions,
    downsample_regions_bilinear,
    mask_pool,
    region_loss,
    region_weights,
)


def one_hot(labels, num):
    return F.one_hot(labels.long(), num).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize(
    ('size', 'grid'), [((224, 224), 14), ((64, 48), (7, 5)), ((5, 9), (7, 11))]
)
def test_downsample_is_adaptive_average_pooling(size, grid, dtype):
    torch.manual_seed(0)
    labels = torch.randint(0, 9, (2, *size)).to(dtype)
    before = labels.clone()
    shares = downsample_regions(labels, 11, grid)
    expected = F.adaptive_avg_pool2d(one_hot(labels, 11), grid)
    assert torch.equal(labels, before)  # the input is not used as scratch space
    torch.testing.assert_close(shares, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(shares.sum(1), torch.ones_like(shares[:, 0]))
    assert (shares[:, 9:] == 0).all()


def test_downsample_by_hand():
    labels = torch.tensor([[[0, 0, 1, 1], [0, 1, 1, 1], [2, 2, 2, 2], [2, 2, 2, 0]]])
    shares = downsample_regions(labels, 3, 2)
    expected = torch.tensor(
        [[[0.75, 0.0], [0.0, 0.25]], [[0.25, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 0.75]]]
    )
    assert torch.equal(shares[0], expected)


@pytest.mark.parametrize(('size', 'grid'), [((224, 224), 14), ((224, 224), 56), ((37, 53), (7, 9))])
def test_bilinear_downsample_is_interpolate(size, grid):
    torch.manual_seed(0)
    labels = torch.randint(0, 9, (2, *size))
    expected = F.interpolate(one_hot(labels, 9), grid, mode='bilinear', align_corners=False)
    if isinstance(grid, int):
        grid = (grid, grid)
    found = downsample_regions_bilinear(labels, 9, grid)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_ids_outside_the_table_are_named():
    labels = torch.tensor([[[0, 7], [1, 2]]])
    with pytest.raises(ValueError, match=r'0\.\.6, got 0\.\.7'):
        downsample_regions(labels, 7, 1)
    with pytest.raises(ValueError, match='got -1'):
        downsample_regions_bilinear(labels - 1, 7, 1)


def test_mask_pool_is_equation_2_1():
    torch.manual_seed(0)
    feats, masks = torch.randn(2, 5, 3, 4), torch.rand(2, 6, 3, 4)
    masks[1, 2] = 0
    found = mask_pool(feats, masks).numpy()
    for b in range(2):
        for m in range(6):
            h, k = feats[b].numpy(), masks[b, m].numpy()
            expected = (h * k).sum((1, 2)) / k.sum() if k.sum() else np.zeros(5)
            np.testing.assert_allclose(found[b, m], expected, atol=1e-5)


def test_mask_pool_official_divides_by_at_least_one():
    feats = torch.full((1, 1, 2, 2), 8.0)
    masks = torch.tensor([[[[0.25, 0], [0, 0]], [[1.0, 1], [0, 0]]]])
    assert mask_pool(feats, masks, min_area=1.0).flatten().tolist() == [2.0, 8.0]
    assert mask_pool(feats, masks).flatten().tolist() == [8.0, 8.0]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_mask_pool_in_half_precision_with_an_empty_mask(dtype):
    feats = torch.randn(1, 3, 4, 4).to(dtype).requires_grad_()
    masks = torch.zeros(1, 2, 4, 4)
    masks[0, 0, :2] = 1
    pooled = mask_pool(feats, masks)
    pooled[0, 0].sum().backward()
    assert pooled.dtype == dtype
    assert (pooled[0, 1] == 0).all()
    expected = torch.where(masks[0, 0] > 0, 1 / 8, 0.0).to(dtype)
    torch.testing.assert_close(feats.grad[0, 0], expected)


def test_crop_stays_in_full_precision_under_autocast():
    masks, views = torch.rand(2, 3, 56, 56), random_views(2)
    with torch.autocast('cpu', torch.bfloat16):
        found = crop_masks(masks, views, 7)
    assert found.dtype == torch.float32
    assert torch.equal(found, crop_masks(masks, views, 7))


def test_mask_pool_refuses_another_grid():
    with pytest.raises(ValueError, match='resize the masks'):
        mask_pool(torch.zeros(1, 2, 7, 7), torch.zeros(1, 3, 14, 14))


def random_views(n):
    corner = torch.rand(n, 2) * 0.7
    far = corner + (1 - corner) * torch.rand(n, 2).clamp(min=0.02)
    flip = (torch.rand(n, 1) > 0.5).float()
    return torch.cat([corner, far, flip], 1)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize(('shape', 'size'), [((56, 56), 7), ((40, 64), (5, 7)), ((14, 14), 14)])
def test_crop_is_mmcv_roi_align(aligned, shape, size):
    roi_align = pytest.importorskip('mmcv.ops', exc_type=ImportError).roi_align
    torch.manual_seed(0)
    masks, views = torch.rand(12, 4, *shape), random_views(12)
    views[0] = torch.tensor([0, 0, 1, 1, 0.0])
    views[1, :4] = torch.tensor([0.3, 0.4, 0.3001, 0.4001])
    views[2, :4] = torch.tensor([0.98, 0.97, 1.0, 1.0])
    scale = torch.tensor([shape[1], shape[0]] * 2)
    rois = torch.cat([torch.arange(12.0)[:, None], views[:, :4] * scale], 1)
    pair = (size, size) if isinstance(size, int) else size
    expected = roi_align(masks.contiguous(), rois, pair, 1.0, 0, 'avg', aligned)
    flip = views[:, 4].bool()
    expected[flip] = expected[flip].flip(-1)
    torch.testing.assert_close(crop_masks(masks, views, size, aligned), expected, atol=2e-6, rtol=0)


def roi_align_by_loops(mask, box, bins, aligned):
    """ROIAlign of one mask (H, W) as its paper and mmcv's kernel define it, point by point."""
    height, width = mask.shape
    x1, y1, x2, y2 = (
        float(v)
        for v in box * np.float32([width, height, width, height])
        - np.float32(0.5 if aligned else 0.0)
    )
    roi_w, roi_h = x2 - x1, y2 - y1
    if not aligned:  # Detectron's: at least one pixel
        roi_w, roi_h = max(roi_w, 1.0), max(roi_h, 1.0)
    bin_h, bin_w = roi_h / bins[0], roi_w / bins[1]
    per_h, per_w = math.ceil(bin_h), math.ceil(bin_w)

    def value(y, x):
        if y < -1 or y > height or x < -1 or x > width:
            return 0.0
        y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
        top, left = int(y), int(x)
        down, right = min(top + 1, height - 1), min(left + 1, width - 1)
        ly, lx = y - top, x - left
        return (1 - ly) * ((1 - lx) * mask[top, left] + lx * mask[top, right]) + ly * (
            (1 - lx) * mask[down, left] + lx * mask[down, right]
        )

    out = np.zeros(bins)
    for i, j in np.ndindex(*bins):
        points = [
            value(y1 + bin_h * (i + (a + 0.5) / per_h), x1 + bin_w * (j + (b + 0.5) / per_w))
            for a in range(per_h)
            for b in range(per_w)
        ]
        out[i, j] = np.mean(points)
    return out


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize(
    ('shape', 'bins'), [((16, 16), (4, 4)), ((10, 13), (3, 5)), ((6, 6), (7, 7))]
)
def test_crop_is_roi_align_by_loops(aligned, shape, bins):
    """Everywhere, also where mmcv has no compiled ops."""
    torch.manual_seed(1)
    masks, views = torch.rand(6, 2, *shape), random_views(6)
    views[0] = torch.tensor([0, 0, 1, 1, 0.0])
    views[1] = torch.tensor([0.3, 0.4, 0.301, 0.401, 1.0])
    views[2] = torch.tensor([0.93, 0.91, 1.0, 1.0, 0.0])
    found = crop_masks(masks, views, bins, aligned).numpy()
    for b, m in np.ndindex(6, 2):
        expected = roi_align_by_loops(
            masks[b, m].double().numpy(), views[b, :4].numpy(), bins, aligned
        )
        if views[b, 4]:
            expected = expected[:, ::-1]
        np.testing.assert_allclose(found[b, m], expected, atol=1e-5)


def test_crop_of_the_whole_image_is_average_pooling():
    masks = torch.rand(2, 3, 56, 56)
    whole = torch.tensor([[0, 0, 1, 1, 0.0], [0, 0, 1, 1, 1.0]])
    expected = F.avg_pool2d(masks, 8)
    expected[1] = expected[1].flip(-1)
    torch.testing.assert_close(crop_masks(masks, whole, 7), expected, atol=1e-6, rtol=0)


def test_crop_carries_coordinates():
    """A mask whose value is its own x (or y) coordinate comes back as the view's coordinates."""
    center = (torch.arange(56.0) + 0.5) / 56
    masks = torch.stack([center.expand(56, 56), center[:, None].expand(56, 56)])[None]
    x1, y1, x2, y2 = 0.25, 0.125, 0.875, 0.625
    for flip in (0.0, 1.0):
        found = crop_masks(masks, torch.tensor([[x1, y1, x2, y2, flip]]), 7)[0]
        cells = (torch.arange(7.0) + 0.5) / 7
        x, y = x1 + cells * (x2 - x1), y1 + cells * (y2 - y1)
        x = x.flip(0) if flip else x
        torch.testing.assert_close(found[0], x.expand(7, 7), atol=1e-5, rtol=0)
        torch.testing.assert_close(found[1], y[:, None].expand(7, 7), atol=1e-5, rtol=0)


def test_crop_refuses_boxes_of_another_shape():
    with pytest.raises(ValueError, match=r'views must be \(2, 5\)'):
        crop_masks(torch.zeros(2, 1, 8, 8), torch.zeros(2, 4), 7)


def byol_by_hand(p, z):
    return 2 - 2 * np.dot(p, z) / np.linalg.norm(p) / np.linalg.norm(z)


def test_region_loss_is_equations_2_4_and_2_5():
    rng = np.random.default_rng(0)
    pred, target = rng.normal(size=(3, 4, 6)), rng.normal(size=(3, 4, 6))
    valid = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], bool)
    per_image = [
        np.mean([byol_by_hand(pred[b, m], target[b, m]) for m in np.flatnonzero(valid[b])])
        for b in (0, 2)
    ]
    every = [
        byol_by_hand(pred[b, m], target[b, m]) for b, m in zip(*np.nonzero(valid), strict=False)
    ]
    args = [torch.tensor(a) for a in (pred, target, valid)]
    assert region_loss(*args).item() == pytest.approx(np.mean(per_image), rel=1e-5)
    assert region_loss(*args, average='region').item() == pytest.approx(np.mean(every), rel=1e-5)


def test_region_loss_without_any_region_is_a_connected_zero():
    pred = torch.randn(2, 3, 4, requires_grad=True)
    loss = region_loss(pred, torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(pred.grad, torch.zeros_like(pred))


def test_region_loss_ignores_what_absent_rows_hold():
    pred, target = torch.randn(1, 2, 4), torch.randn(1, 2, 4)
    pred[0, 1], valid = float('nan'), torch.tensor([[True, False]])
    pred.requires_grad_()
    loss = region_loss(pred, target, valid)
    loss.backward()
    assert loss.isfinite()
    assert pred.grad.isfinite().all()
    assert (pred.grad[0, 1] == 0).all()


def test_no_gradient_reaches_the_target():
    target = torch.randn(1, 2, 4, requires_grad=True)
    pred = torch.randn(1, 2, 4, requires_grad=True)
    region_loss(pred, target, torch.ones(1, 2, dtype=torch.bool)).backward()
    assert target.grad is None
    assert pred.grad.abs().sum() > 0


def test_region_weights_refuses_unknown_average():
    with pytest.raises(ValueError, match="'image' or 'region', got 'mean'"):
        region_weights(torch.ones(1, 2, dtype=torch.bool), 'mean')


def test_pairs_need_more_than_the_minimal_area_in_both_views():
    first = torch.tensor([0.5, 0.6, 0.6, 0.0])[None, :, None, None]
    second = torch.tensor([0.6, 0.6, 0.5, 0.6])[None, :, None, None]
    assert RegionPairs(first, second, min_area=0.5).valid.tolist() == [[False, True, False, False]]
    assert RegionPairs(first, second, min_area=0.0).valid.tolist() == [[True, True, True, False]]
