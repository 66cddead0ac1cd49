"""Evaluating a network within training restores its state; images and labels of its views."""

import contextlib
import random

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmengine.model import ImgDataPreprocessor
from torch import nn

from orl_mm.structures.view_geometry import ViewGeometry
from orl_mm.visualization.probe import evaluating, labels_in_view, preserved_rng, to_rgb


def _draws():
    return random.random(), np.random.rand(), float(torch.rand(()))


def test_generators_are_restored_also_after_an_error():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = _draws()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with contextlib.suppress(KeyError), preserved_rng(7):
        inside = _draws()
        raise KeyError
    assert _draws() == expected
    with preserved_rng(7):
        assert _draws() == inside != expected


@pytest.mark.parametrize('kind', [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_batch_statistics_are_those_of_the_batch_and_everything_is_restored(kind):
    torch.manual_seed(0)
    norm = kind(3).train()
    norm.running_mean += 5.0
    model = nn.Sequential(norm, nn.Dropout(0.9))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(4, 3, 5, 5) * 3 + 1
    with evaluating(model, batch_statistics=True):
        out = model(x)
    expected = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)
    assert torch.allclose(out, expected, atol=1e-6)  # dropout is off
    assert all(m.training for m in model.modules())
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(v, before[k]) for k, v in after.items())


def test_a_synchronised_norm_enters_no_collective(tmp_path):
    """On a CPU its synchronised path raises an error, so it is not taken."""
    norm = nn.SyncBatchNorm(3).train()
    x = torch.randn(4, 3, 5, 5)
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match='SyncBatchNorm'):
            norm(x)
        with evaluating(norm, batch_statistics=True):
            out = norm(x)
    finally:
        dist.destroy_process_group()
    assert torch.allclose(out, F.batch_norm(x, None, None, training=True), atol=1e-6)


def test_evaluating_restores_every_mode():
    model = nn.Sequential(nn.Dropout(), nn.Dropout())
    model[1].eval()
    with evaluating(model):
        assert not any(m.training for m in model.modules())
    assert [m.training for m in model.modules()] == [True, True, False]


def test_a_frozen_norm_keeps_its_running_statistics():
    norm = nn.BatchNorm2d(3).eval()
    norm.running_mean += 5.0
    x = torch.randn(4, 3, 5, 5)
    with evaluating(norm, batch_statistics=True):
        assert torch.allclose(norm(x), F.batch_norm(x, norm.running_mean, norm.running_var))
    assert not norm.training


@pytest.mark.parametrize('to_rgb_', [True, False])
def test_to_rgb_undoes_the_preprocessor(to_rgb_):
    bgr = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    pre = ImgDataPreprocessor(mean=[10.0, 20.0, 30.0], std=[50.0, 60.0, 70.0], bgr_to_rgb=to_rgb_)
    inputs = pre(dict(inputs=list(bgr)))['inputs']
    assert (to_rgb(inputs, pre) == bgr.flip(1).permute(0, 2, 3, 1).numpy()).all()


@pytest.mark.parametrize('flip', [False, True])
def test_labels_in_view_agree_with_the_geometry_of_the_image(flip):
    """Where a cell of the view is inside one region, crop_masks and pixels agree."""
    labels = np.kron(np.array([[5, 0, 2], [9, 5, 1]]), np.ones((16, 20), int))  # 32 x 60
    view = ViewGeometry(10, 4, 50, 28, 32, 60, flip)
    seen = labels_in_view(labels, view.to_tensor(), 8)
    expected = view.apply_labels(labels, 8)
    # Bins are 5 x 3 pixels; borders at x = 20, 40 and y = 16 fall on edges of bins.
    assert (seen == expected).all()
    assert set(np.unique(seen)) == {5, 0, 2, 9, 1}
