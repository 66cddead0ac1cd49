"""The algorithm as a whole: gradients, target, and the legal extremes."""

import copy

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict as mmengine_load

from orl_mm.models import R2O
from orl_mm.structures import RegionBatch
from tests.small import ENCODER, mlp


def build(refiner=None, grid=None, **kwargs):
    torch.manual_seed(0)
    model = R2O(
        backbone=dict(ENCODER),
        neck=dict(type='orl_mm.MaskPoolNeck', projector=mlp(64)),
        head=dict(
            type='orl_mm.RegionPredictHead',
            predictor=mlp(8),
            loss=dict(type='orl_mm.RegionCosineLoss'),
        ),
        refiner={
            'type': 'orl_mm.KMeansRefiner',
            'num_clusters': 4,
            'mask_size': 16,
            **(refiner or {}),
        },
        grid=grid,
        **kwargs,
    )
    model.init_weights()
    return model.train()


def sample(num=3, side=64, views=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(num, 3, side, side, generator=generator) for _ in range(3)]
    cell = torch.arange(side) * 4 // side
    labels = (cell[:, None] * 4 + cell).expand(num, -1, -1).to(torch.uint8)
    if views is None:
        views = torch.tensor([[[0, 0, 0.8, 0.8, 0], [0.2, 0.1, 1, 1, 1.0]]]).expand(num, -1, -1)
    return inputs, RegionBatch(views, labels, [16] * num)


DISJOINT = torch.tensor([[[0, 0, 0.25, 0.25, 0], [0.75, 0.75, 1, 1, 0.0]]])


def own_regions(num):
    """Clustering off: every superpixel its own region, so disjoint views share none."""
    return dict(num_clusters=None), DISJOINT.expand(num, -1, -1)


def trained(model):
    return {n: p for n, p in model.named_parameters() if not n.startswith('target.')}


def test_gradients_reach_the_online_network_alone():
    model = build()
    loss = model.loss(*sample())['loss']
    loss.backward()
    assert 0 < loss.item() < 8  # two directions of 2 - 2 cos
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained(model).values())
    assert all(p.grad is None and not p.requires_grad for p in model.target.parameters())


def test_masks_have_the_grid_of_the_features():
    inputs, batch = sample(side=96)  # 3 x 3
    values = []
    for grid in (None, 3):
        model = build(grid=grid)
        values.append(model.loss(inputs, batch)['loss'])
    assert torch.equal(*values)
    with pytest.raises(ValueError, match='grid=2, but the features of the views are 3 x 3'):
        build(grid=2).loss(inputs, batch)


def test_target_starts_as_a_copy_and_follows():
    model = build()
    online = {
        **{f'backbone.{k}': v for k, v in model.backbone.named_parameters()},
        **{f'neck.{k}': v for k, v in model.neck.named_parameters()},
    }
    target = dict(model.target.named_parameters())
    assert online.keys() == target.keys()
    assert all(torch.equal(online[k], target[k]) for k in online)
    buffers = {k: v.clone() for k, v in model.target.named_buffers()}
    before = {k: v.clone() for k, v in target.items()}
    with torch.no_grad():
        for p in trained(model).values():
            p.add_(1.0)
    model.update_target(0.75)
    for k in online:
        torch.testing.assert_close(target[k], 0.75 * before[k] + 0.25 * online[k])
    assert all(torch.equal(v, buffers[k]) for k, v in model.target.named_buffers())


def test_official_order_updates_between_clustering_and_views():
    """Row 6: clusters with the old target, encodes the views with the new one."""
    model = build(target_update='before_target_forward')
    with torch.no_grad():
        for p in model.backbone.parameters():
            p.mul_(1.5)
    model.pending_momentum = 0.5
    seen, inputs = [], sample()

    def watch(module, args):
        seen.append((args[0].clone(), module.conv1.weight.detach().clone()))

    model.target['backbone'].register_forward_pre_hook(watch)
    old = model.target['backbone'].conv1.weight.detach().clone()
    model.loss(*inputs)
    assert torch.equal(seen[0][0], inputs[0][2])
    assert torch.equal(seen[0][1], old)
    torch.testing.assert_close(seen[1][1], 1.25 * old)
    assert len(seen) == 3
    assert model.pending_momentum is None


@pytest.mark.parametrize('rows', ['valid', 'all'])
@pytest.mark.parametrize('views', ['separate', 'joined'])
@pytest.mark.parametrize('target', ['momentum', 'stop-gradient'])
def test_every_combination_trains(rows, views, target):
    model = build(rows=rows, views=views, target=target)
    loss = model.loss(*sample())['loss']
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None for p in trained(model).values())


def test_batch_of_one():
    model = build()
    loss = model.loss(*sample(1))['loss']
    loss.backward()
    assert loss.isfinite()
    assert model.backbone.conv1.weight.grad.isfinite().all()


def test_no_region_in_both_views_is_a_connected_zero():
    """Row 23: a zero that still reaches every parameter, so that DDP is not stuck."""
    refiner, views = own_regions(2)
    model = build(refiner)
    stats = model.neck.projector.bn0.running_mean.clone()
    loss = model.loss(*sample(2, views=views))['loss']
    loss.backward()
    assert loss.item() == 0
    assert not model.last.valid.any()
    for name, p in trained(model).items():
        assert (p.grad == 0).all(), name
    assert torch.equal(stats, model.neck.projector.bn0.running_mean)


def test_images_without_regions_do_not_count():
    """Three images, one of them without a pair: the mean runs over the other two."""
    refiner, views = own_regions(3)
    whole = torch.tensor([[0, 0, 1, 1, 0.0], [0, 0, 1, 1, 0.0]])
    views = torch.stack([whole, views[0], whole])
    model = build(refiner).eval()  # running statistics: rows do not interact
    inputs, batch = sample(3, views=views)
    both = model.loss(inputs, batch)['loss']
    keep = [0, 2]
    inputs, batch = (
        [x[keep] for x in inputs],
        RegionBatch(views[keep], batch.labels[keep], [16] * 2),
    )
    torch.testing.assert_close(both, model.loss(inputs, batch)['loss'])


def test_a_single_row_uses_running_statistics():
    """Row 23: one region in one image; its batch variance would be zero."""
    model = build(dict(num_clusters=1))
    inputs, batch = sample(1)
    loss = model.loss(inputs, batch)['loss']
    loss.backward()
    assert model.last.valid.sum() == 1
    assert loss.isfinite()
    assert model.neck.projector.training
    assert model.neck.projector.bn0.training
    assert model.neck.projector.fc0.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('refiner', [{}, dict(num_clusters=None)])
def test_autocast(dtype, refiner):
    """Half precision networks; regions, clustering and loss in fp32.

    With each superpixel a region of its own most masks of a view are empty: their
    rows are not read, and must not poison the gradient of the features either.
    """
    views = torch.tensor([[[0, 0, 0.5, 0.5, 0], [0, 0, 0.7, 0.7, 1.0]]]).expand(3, -1, -1)
    fp32 = build(refiner).loss(*sample(views=views))['loss']
    model = build(refiner)
    with torch.autocast('cpu', dtype):
        loss = model.loss(*sample(views=views))['loss']
    loss.backward()
    assert loss.dtype == torch.float32
    assert abs(loss - fp32) < 0.15
    assert refiner == {} or not model.last.valid.all()
    for name, p in trained(model).items():
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.abs().sum() > 0, name


@pytest.mark.parametrize('target', ['momentum', 'stop-gradient'])
def test_bfloat16_pass_over_x0_within_float16_autocast(target):
    """The clusters' dtype must not leak into the networks through autocast's weight cache."""
    model = build(dict(dtype='bfloat16'), target=target)
    with torch.autocast('cpu', torch.float16):
        loss = model.loss(*sample())['loss']
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in trained(model).values())


def test_no_rows_are_normalized_in_fp32_under_autocast():
    """SyncBatchNorm sends its statistics in the dtype of an empty input."""
    seen = []
    model = build(dict(num_clusters=None))
    for module in (*model.neck.modules(), *model.head.modules()):
        if isinstance(module, torch.nn.BatchNorm1d):
            module.register_forward_pre_hook(lambda m, x: seen.append((len(x[0]), x[0].dtype)))
    with torch.autocast('cpu', torch.bfloat16):
        loss = model.loss(*sample(2, views=DISJOINT.expand(2, -1, -1)))['loss']
    loss.backward()
    assert len(seen) == 4
    assert set(seen) == {(0, torch.float32)}
    assert all(p.grad is not None for p in trained(model).values())


def test_nan_features_stop_the_run():
    model = build()
    inputs, batch = sample()
    inputs[2][1, 0, 5, 5] = float('nan')
    with pytest.raises(ValueError, match='NaN or infinite on rank .0.'):
        model.loss(inputs, batch)


def test_nan_features_of_a_view_stop_the_run_also_without_clustering():
    model = build(dict(num_clusters=None))
    inputs, batch = sample()
    inputs[1][0, 0, 5, 5] = float('inf')
    with pytest.raises(ValueError, match='NaN or infinite on rank .0.'):
        model.loss(inputs, batch)


def test_find_objects_leaves_no_trace():
    model = build()
    inputs, batch = sample()
    model.loss(inputs, batch)
    state, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first = model.find_objects(inputs[2], batch.labels)
    assert first.shape == (3, 16, 16)
    assert int(first.max()) < 4
    assert torch.equal(first, model.find_objects(inputs[2], batch.labels, batch.counts))
    assert torch.equal(rng, torch.get_rng_state())
    assert model.training
    after = model.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in state.items())


def test_checkpoint_of_an_online_network_starts_the_target():
    source = build()
    with torch.no_grad():
        for p in source.parameters():
            p.add_(0.1)
    state = {k: v for k, v in source.state_dict().items() if not k.startswith('target.')}
    for load in (torch.nn.Module.load_state_dict, mmengine_load):
        model = build()
        load(model, state, strict=False)
        assert torch.equal(model.target['backbone'].conv1.weight, source.backbone.conv1.weight)
    whole = build()
    whole.load_state_dict(source.state_dict())
    assert torch.equal(
        whole.target['backbone'].conv1.weight, source.target['backbone'].conv1.weight
    )


def test_data_samples_of_the_stock_preprocessor():
    """A list of data samples, as SelfSupDataPreprocessor leaves it, is stacked here."""
    from mmpretrain.structures import DataSample

    inputs, batch = sample()
    samples = [DataSample() for _ in range(3)]
    for i, s in enumerate(samples):
        s.set_field(batch.views[i], 'views')
        s.set_field(batch.labels[i], 'regions')
        s.set_field(16, 'num_regions')
    expected = build().loss(inputs, batch)['loss']
    assert torch.equal(build().loss(inputs, samples)['loss'], expected)


def test_bad_input_is_named():
    model = build()
    inputs, batch = sample()
    with pytest.raises(ValueError, match='two views and the whole image x0, got 2'):
        model.loss(inputs[:2], batch)
    with pytest.raises(ValueError, match="target must be one of .* got 'ema'"):
        build(target='ema')
    with pytest.raises(TypeError, match='num_cluster'):
        build(dict(num_cluster=3))
