"""The `official` arguments against arrays recorded from the authors' public code."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from orl_mm.models.utils import RegionPairs, crop_masks, downsample_regions_bilinear, mask_pool
from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch

CLUSTERS = 24
CONFIG = Path(__file__).parents[2] / 'configs' / 'r2o' / 'r50_in1k_official.py'


@pytest.fixture(scope='module')
def golden():
    file = Path(__file__).parents[1] / 'data' / 'r2o_official.npz'
    arrays = np.load(file, allow_pickle=False)
    return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays}


@pytest.fixture(scope='module')
def batch(golden):
    labels = golden['superpixels']
    return RegionBatch(golden['views'], labels, [int(m.max()) + 1 for m in labels])


@pytest.fixture(scope='module')
def official():
    """The preset's own arguments; of the recorded networks, smaller ones, only the widths."""
    model = Config.fromfile(CONFIG).model
    model.backbone.update(depth=18, stem_channels=6, base_channels=6)
    model.refiner.update(num_clusters=CLUSTERS)
    for mlp, width in ((model.neck.projector, 48), (model.head.predictor, 16)):
        mlp.update(in_channels=width, hid_channels=64, out_channels=16, norm_cfg=dict(type='BN1d'))
    return model.to_dict()


@pytest.fixture
def refiner(official):
    return MODELS.build(official['refiner'])


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def test_kmeans_input(golden, batch):
    masks = downsample_regions_bilinear(golden['superpixels'], batch.max_count, (14, 14))
    points = mask_pool(golden['c4'], masks, min_area=1.0)
    close(F.normalize(points.flatten(0, 1), dim=1), golden['kmeans_input'])


def test_kmeans_input_of_the_refiner(golden, batch, refiner):
    points, rows, shape = refiner._points(golden['c4'], batch)
    assert rows is None
    assert tuple(shape) == (4, 84)
    close(points, golden['kmeans_input'])


def test_m0(golden, batch, refiner):
    m0 = refiner._paint(golden['superpixel_to_cluster'], batch, torch.Size([14, 14]))
    assert torch.equal(m0, golden['m0'].long())


@pytest.mark.parametrize('view', [0, 1])
def test_masks_of_the_views(golden, official, refiner, view):
    m0 = refiner._one_hot(golden['m0'].long(), CLUSTERS)
    aligned = MODELS.build(official).aligned
    found = crop_masks(m0, golden['views'][:, view], 7, aligned)
    close(found, golden[f'masks_view{view + 1}'])


def load(module, golden, name):
    names = {'fc0': 'l1', 'bn0': 'bn1', 'fc1': 'l2'}
    state = {
        f'{ours}.{kind}': golden[f'{name}.{theirs}.{kind}']
        for ours, theirs in names.items()
        for kind in ('weight', 'bias')
    }
    left = module.load_state_dict(state, strict=False)
    assert all('running' in k or 'tracked' in k for k in left.missing_keys)


def step(golden, official, change=()):
    """Loss and gradients of the model's own path, from the features of the last stage on."""
    cfg = Config(dict(model=official))
    cfg.merge_from_dict({f'model.{key}': value for key, value in dict(change).items()})
    model = MODELS.build(cfg.model)
    load(model.neck.projector, golden, 'projector')
    load(model.target['neck'].projector, golden, 'target_projector')
    load(model.head.predictor, golden, 'predictor')
    model.train()
    feats = [golden[f'online_c5_view{v}'].clone().requires_grad_() for v in (1, 2)]
    targets = [golden[f'target_c5_view{v}'] for v in (1, 2)]
    masks = [golden[f'masks_view{v}'] for v in (1, 2)]
    pairs = RegionPairs(*masks, model.min_area, model.rows)
    online = model._project(model.neck, feats, masks, pairs)
    predictions = model.per_view(
        lambda z: model.head.predict(z, pairs, 2 if model.joined else 1), online
    )
    with torch.no_grad():
        target = model._project(model.target['neck'], targets, masks, pairs)
    loss = model.head.loss(predictions, target[::-1], pairs)
    loss.backward()
    return loss.detach(), [f.grad for f in feats], pairs


def test_loss_and_gradient(golden, official):
    loss, grads, pairs = step(golden, official)
    assert torch.equal(pairs.valid, golden['valid'])
    close(loss, golden['loss'])
    for view, grad in enumerate(grads):
        expected = golden[f'grad_online_c5_view{view + 1}']
        close(grad, expected)
        close(grad, expected, 1e-3 * expected.abs().max().item())  # 1e-5 alone would be loose here


@pytest.mark.parametrize(
    'change',
    [
        ('views', 'separate'),
        ('rows', 'valid'),
        ('neck.min_area', 0.0),
        ('head.loss.average', 'image'),
        ('head.symmetric', 'sum'),
    ],
    ids=lambda change: change[0],
)
def test_each_argument_matters(golden, official, change):
    """With any one argument of the thesis preset the recorded loss is missed."""
    loss, _, _ = step(golden, official, [change])
    assert abs(loss - golden['loss']) > 1e-4
