"""From superpixels to objects, on features whose right answer is known."""

import pytest
import torch
from mmpretrain.models import ResNet
from torch import nn

from orl_mm.models.refiners.kmeans_refiner import KMeansRefiner
from orl_mm.models.utils.norms import frozen_statistics
from orl_mm.models.utils.stages import forward_stage
from orl_mm.structures import RegionBatch


class Given(nn.Module):
    """A backbone that returns the features it was given."""

    out_indices = (3,)

    def __init__(self, feats):
        super().__init__()
        self.feats = feats

    def forward(self, images):
        return (self.feats,)


def quarters(num=1, side=224):
    """Four superpixels, the quarters of the image, in reading order."""
    row = (torch.arange(side) >= side // 2).long()
    return (2 * row[:, None] + row).expand(num, side, side).to(torch.uint8)


def batch_of(labels, counts=None):
    counts = counts or [int(m.max()) + 1 for m in labels]
    return RegionBatch(torch.zeros(len(labels), 2, 5), labels, counts)


def two_colors():
    """C4 of one image: the left half points one way, the right half another."""
    feats = torch.zeros(1, 2, 14, 14)
    feats[:, 0, :, :7] = 3.0
    feats[:, 1, :, 7:] = 1.0
    return feats


X0 = torch.zeros(1, 3, 224, 224)


def test_superpixels_of_one_color_become_one_object():
    objects = KMeansRefiner(2)(Given(two_colors()), X0, batch_of(quarters()))
    assert objects.masks.shape == (1, 2, 56, 56)
    assert objects.labels.shape == (1, 56, 56)
    left, right = objects.labels[0, :, :28], objects.labels[0, :, 28:]
    assert left.unique().numel() == right.unique().numel() == 1
    assert left[0, 0] != right[0, 0]
    assert torch.equal(objects.masks.argmax(1), objects.labels)
    assert torch.equal(objects.masks.sum(1), torch.ones(1, 56, 56))


def test_clusters_mean_the_same_across_the_mini_batch():
    """The right color of image 0 is the left color of image 1: one cluster id."""
    feats = torch.cat([two_colors(), two_colors().flip(3)])
    objects = KMeansRefiner(2)(Given(feats), X0.expand(2, -1, -1, -1), batch_of(quarters(2)))
    assert objects.labels[0, 0, 0] == objects.labels[1, 0, 55]
    assert objects.labels[0, 0, 55] == objects.labels[1, 0, 0]


def test_border_cells_belong_to_one_region_or_average_ids():
    """Superpixels 1 px off the grid of m0: majority keeps two ids, blend invents a third."""
    labels = torch.zeros(1, 224, 224, dtype=torch.uint8)
    labels[:, :, 114:] = 1  # cell 28 of 56 covers columns 112..115
    clusters = torch.tensor([[10, 50]])
    batch = batch_of(labels)
    majority = KMeansRefiner(64)._paint(clusters, batch, (14, 14))
    assert majority.unique().tolist() == [10, 50]
    blend = KMeansRefiner(64, border='blend')._paint(clusters, batch, (14, 14))
    assert blend.unique().tolist() == [10, 30, 50]  # README, row 16


def test_majority_by_counting():
    labels = torch.randint(0, 7, (2, 224, 224), generator=torch.Generator().manual_seed(0))
    clusters = torch.arange(7).expand(2, 7)
    found = KMeansRefiner(64)._paint(clusters, batch_of(labels), (14, 14))
    for b, y, x in [(0, 0, 0), (1, 55, 55), (0, 13, 40)]:
        cell = labels[b, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].flatten()
        counts = torch.bincount(cell, minlength=7)
        assert counts[found[b, y, x]] == counts.max()


def test_empty_channels_are_left_out_or_clustered():
    """Image 1 has one region of the batch's four: only the public code clusters its zeros."""
    labels = torch.cat([quarters(), torch.zeros(1, 224, 224, dtype=torch.uint8)])
    feats = torch.cat([two_colors(), two_colors()])
    for cluster_empty, expected in ((False, 5), (True, 8)):
        refiner = KMeansRefiner(2, cluster_empty=cluster_empty)
        points, _, shape = refiner._points(feats, batch_of(labels))
        assert len(points) == expected
        assert tuple(shape) == (2, 4)


def test_without_a_prior_the_cells_are_clustered():
    batch = RegionBatch(torch.zeros(1, 2, 5))
    objects = KMeansRefiner(2)(Given(two_colors()), X0, batch)
    assert objects.labels[0, :, :28].unique().numel() == 1
    assert (objects.labels[0, :, :28] != objects.labels[0, :, 28:]).all()


def test_clustering_off_gives_the_superpixels():
    objects = KMeansRefiner(None)(Given(None), X0, batch_of(quarters()))
    expected = torch.nn.functional.interpolate(quarters()[:, None].float(), (56, 56))[:, 0].long()
    assert torch.equal(objects.labels, expected)
    assert objects.masks.shape[1] == 4
    with pytest.raises(ValueError, match='no prior mask'):
        KMeansRefiner(None)(Given(None), X0, RegionBatch(torch.zeros(1, 2, 5)))


@pytest.mark.parametrize('feats', [torch.ones(1, 4, 14, 14), torch.zeros(1, 4, 14, 14)])
def test_legal_extremes(feats):
    """All features equal, and K far above the number of regions."""
    objects = KMeansRefiner(64)(Given(feats), X0, batch_of(quarters()))
    assert torch.isfinite(objects.checksum)
    assert objects.labels.unique().numel() == 1


def test_nan_features_are_noticed():
    feats = two_colors()
    feats[0, 0, 3, 3] = float('nan')
    objects = KMeansRefiner(2)(Given(feats), X0, batch_of(quarters()))
    assert not torch.isfinite(objects.checksum)


def scattered(num=4):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 40, (num, 224, 224), generator=generator).to(torch.uint8)
    feats = torch.randn(num, 8, 14, 14, generator=generator)
    return Given(feats), X0.expand(num, -1, -1, -1), batch_of(labels)


def test_generator_state_is_in_the_checkpoint():
    args, unbroken = scattered(), KMeansRefiner(6)
    before = torch.get_rng_state()
    first, second, third = (unbroken(*args).labels for _ in range(3))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, second)  # each call draws anew

    broken = KMeansRefiner(6)
    assert torch.equal(broken(*args).labels, first)
    resumed = KMeansRefiner(6)
    resumed.load_state_dict(broken.state_dict())
    assert torch.equal(resumed(*args).labels, second)
    assert torch.equal(resumed(*args).labels, third)


def test_ranks_and_seeds_draw_differently(monkeypatch):
    args = scattered()
    mine = KMeansRefiner(6)(*args).labels
    assert not torch.equal(mine, KMeansRefiner(6, seed=1)(*args).labels)
    monkeypatch.setattr('orl_mm.models.refiners.kmeans_refiner.get_rank', lambda: 1)
    assert not torch.equal(mine, KMeansRefiner(6)(*args).labels)


def resnet():
    torch.manual_seed(0)
    backbone = ResNet(18, out_indices=(3,))
    backbone.train()  # returns nothing
    return backbone


@pytest.mark.parametrize('update', [False, True])
def test_running_statistics(update):
    """Row 24: batch statistics either way, running ones updated by the public code alone."""
    backbone = resnet()
    before = {k: v.clone() for k, v in backbone.named_buffers()}
    x0 = torch.randn(2, 3, 64, 64)
    batch = batch_of(quarters(2, 64))
    KMeansRefiner(3, update_running_stats=update)(backbone, x0, batch)
    changed = {k for k, v in backbone.named_buffers() if not torch.equal(v, before[k])}
    assert all(not k.startswith('layer4') for k in changed)
    assert bool(changed) == update
    for name, module in backbone.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (
                module.running_mean.data_ptr()
                == dict(backbone.named_buffers())[f'{name}.running_mean'].data_ptr()
            )


def test_frozen_statistics_always_lend_buffers():
    """SyncBatchNorm's CUDA kernel needs running statistics to know the dtype of its counts."""
    norm = nn.SyncBatchNorm(3).train()
    kept = norm.running_mean
    with frozen_statistics(norm):
        assert norm.running_mean is not None
        assert norm.running_mean is not kept
        assert norm.running_mean.shape == kept.shape
        assert norm.track_running_stats
        norm.running_mean.fill_(7.0)
    assert norm.running_mean is kept
    assert not kept.any()
    assert norm.num_batches_tracked == 0
    with pytest.raises(RuntimeError), frozen_statistics(norm):
        raise RuntimeError
    assert norm.running_mean is kept


def test_forward_stage_is_the_inner_output_and_runs_no_later_stage():
    backbone, x = resnet(), torch.randn(1, 3, 64, 64)
    backbone.eval()
    ran = []
    backbone.layer4.register_forward_hook(lambda *_: ran.append(1))
    c4 = forward_stage(backbone, x, 2)
    assert not ran
    assert backbone.out_indices == (3,)
    backbone.out_indices = (2, 3)
    assert torch.equal(backbone(x)[0], c4)
    with pytest.raises(ValueError, match='stage 4 does not exist'):
        forward_stage(backbone, x, 4)


def test_the_pass_over_x0_can_run_in_bfloat16():
    seen = []
    backbone = resnet()
    backbone.layer3.register_forward_hook(lambda m, i, o: seen.append(o.dtype))
    x0, batch = torch.randn(2, 3, 64, 64), batch_of(quarters(2, 64))
    for dtype in (None, 'bfloat16'):
        assert KMeansRefiner(3, dtype=dtype)(backbone, x0, batch).masks.dtype == torch.float32
    assert seen == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize(
    'argument', [dict(downsample='nearest'), dict(border='soft'), dict(dtype='int8')]
)
def test_bad_arguments_are_named(argument):
    ((name, value),) = argument.items()
    with pytest.raises(ValueError, match=f"{name} must be one of .* got '{value}'"):
        KMeansRefiner(4, **argument)
