"""Region contrast: against a loop over rows, and against mmpretrain's head."""

import pytest
import torch

from orl_mm.models.heads.region_contrast_head import RegionContrastHead
from orl_mm.models.utils import RegionPairs

from mmpretrain.models.heads import MoCoV3Head  # isort: skip  (after orl_mm, which mends torchvision)

B, K, D = 4, 5, 6
IDENTITY = dict(
    type='orl_mm.RegionMLP',
    in_channels=D,
    hid_channels=8,
    out_channels=D,
    num_layers=2,
    norm_cfg=dict(type='BN1d'),
    with_last_bn=False,
)


def masks_of(valid):
    """Masks (B, K, 2, 2) of which exactly the `valid` ones have an area."""
    return valid.float()[..., None, None].expand(-1, -1, 2, 2).contiguous()


def some(seed=0, images=B, clusters=K):
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(images, clusters, generator=generator) > 0.4
    table = [torch.randn(images, clusters, D, generator=generator) for _ in range(4)]
    return valid, table[:2], table[2:]


def rows_of(tables, valid, all_rows=False):
    return [t.flatten(0, 1) if all_rows else t[valid] for t in tables]


def by_hand(queries, keys, valid, temperature, average, drop):
    """One direction, region by region (image b, cluster k)."""
    unit = torch.nn.functional.normalize
    where = valid.nonzero().tolist()
    images = len({b for b, _ in where})
    loss = torch.zeros(())
    for b, k in where:
        query = unit(queries[b, k], dim=0)
        weight = 1 / len(where) if average == 'region' else 1 / images / int(valid[b].sum())
        positive = (query @ unit(keys[b, k], dim=0) / temperature).exp()
        total = positive.clone()
        for other, cluster in where:
            if (other, cluster) != (b, k) and not (drop and cluster == k):
                total = total + (query @ unit(keys[other, cluster], dim=0) / temperature).exp()
        loss = loss - weight * 2 * temperature * (positive / total).log()
    return loss


@pytest.mark.parametrize('rows', ['valid', 'all'])
@pytest.mark.parametrize('average', ['image', 'region'])
@pytest.mark.parametrize('drop', [False, True])
@pytest.mark.parametrize('symmetric', ['sum', 'mean'])
def test_against_a_loop(rows, average, drop, symmetric):
    valid, predictions, targets = some()
    pairs = RegionPairs(masks_of(valid), masks_of(valid), rows=rows)
    head = RegionContrastHead(IDENTITY, 0.3, average, drop, symmetric)
    found = head.loss(
        rows_of(predictions, valid, rows == 'all'), rows_of(targets, valid, rows == 'all'), pairs
    )
    expected = sum(
        by_hand(q, k, valid, 0.3, average, drop) for q, k in zip(predictions, targets, strict=False)
    )
    torch.testing.assert_close(found, expected / (2 if symmetric == 'mean' else 1))


def test_dropping_needs_clusters():
    """Without clustering the same channel of two images is nothing alike."""
    valid, predictions, targets = some()
    arguments = rows_of(predictions, valid), rows_of(targets, valid)
    losses = [
        RegionContrastHead(IDENTITY, 0.3, drop_same_cluster=drop).loss(
            *arguments, RegionPairs(masks_of(valid), masks_of(valid), clustered=clustered)
        )
        for drop, clustered in ((False, True), (True, False), (True, True))
    ]
    assert losses[0] == losses[1]
    assert losses[2] < losses[0]


def test_one_region_an_image_is_mocov3():
    torch.manual_seed(0)
    valid = torch.ones(B, 1, dtype=torch.bool)
    ours = RegionContrastHead(IDENTITY, 0.5)
    theirs = MoCoV3Head(
        dict(IDENTITY, type='NonLinearNeck', with_avg_pool=False),
        dict(type='CrossEntropyLoss', loss_weight=1.0),
        0.5,
    )
    theirs.predictor.load_state_dict(ours.predictor.state_dict())
    pairs = RegionPairs(masks_of(valid), masks_of(valid))
    z, k = [torch.randn(B, D) for _ in range(2)], [torch.randn(B, D) for _ in range(2)]
    found = ours.loss([ours.predict(x, pairs, 1) for x in z], k, pairs)
    torch.testing.assert_close(found, sum(theirs.loss(*pair) for pair in zip(z, k, strict=False)))


def test_no_region_is_a_connected_zero():
    none = torch.zeros(B, K, dtype=torch.bool)
    for rows in ('valid', 'all'):
        pairs = RegionPairs(masks_of(none), masks_of(none), rows=rows)
        head = RegionContrastHead(IDENTITY, drop_same_cluster=True)
        z = torch.randn(pairs.local_rows, D, requires_grad=True)
        loss = head.loss([z, z], [torch.randn(len(z), D)] * 2, pairs)
        loss.backward()
        assert loss == 0
        assert not z.grad.any()


def test_half_precision_is_compared_in_fp32():
    valid, predictions, targets = some()
    pairs = RegionPairs(masks_of(valid), masks_of(valid))
    head = RegionContrastHead(IDENTITY, 0.1)
    halves = [[t.bfloat16() for t in rows_of(x, valid)] for x in (predictions, targets)]
    with torch.autocast('cpu', torch.bfloat16):
        found = head.loss(*halves, pairs)
    expected = head.loss(*[[t.float() for t in x] for x in halves], pairs)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    'bad', [dict(temperature=0.0), dict(average='pixel'), dict(symmetric='both')]
)
def test_bad_arguments(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        RegionContrastHead(IDENTITY, **bad)
