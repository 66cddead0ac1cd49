"""DetCon as a whole: which masks reach which network, its target, bad input."""

import pytest
import torch

from orl_mm.models import DetCon
from orl_mm.models.baselines import detcon as module
from orl_mm.structures import RegionBatch, ViewGeometry
from tests.test_models.detcon_model import CODES, build, sample


def trained(model):
    return {n: p for n, p in model.named_parameters() if not n.startswith('target.')}


@pytest.mark.parametrize('code', CODES)
def test_gradients_reach_the_online_network_alone(code):
    model = build(**CODES[code])
    loss = model.loss(*sample())['loss']
    loss.backward()
    assert loss.isfinite()
    assert loss > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained(model).values())
    assert all(p.grad is None and not p.requires_grad for p in model.target.parameters())


def test_regions_of_the_views_against_geometry():
    """Each cell of a view has the region that most of its pixels show, cell by cell."""
    side, grid = 64, 2
    labels = torch.randint(9, (5, 16, 16), generator=torch.Generator().manual_seed(0))
    labels = labels.repeat_interleave(4, 1).repeat_interleave(4, 2)
    torch.manual_seed(0)
    where = [[ViewGeometry.sample(side, side) for _ in range(2)] for _ in labels]
    batch = RegionBatch(
        torch.stack([torch.stack([v.to_tensor() for v in pair]) for pair in where]), labels, [9] * 5
    )
    for v in (0, 1):
        found = DetCon.view_regions(batch, v, torch.empty(5, 3, side, side), (grid, grid))
        for b in range(5):
            cut = where[b][v].apply_labels(labels[b], side)
            for y in range(grid):
                for x in range(grid):
                    cell = cut[32 * y : 32 * y + 32, 32 * x : 32 * x + 32].flatten().tolist()
                    assert found[b, y, x] == max(range(9), key=cell.count)


@pytest.mark.parametrize('code', CODES)
def test_loss_is_that_of_the_steps_by_hand(code, monkeypatch):
    """Pooling, networks, target and loss, region by region; no batch norm between rows."""
    model, (inputs, batch) = build(dict(type='GN', num_groups=2), **CODES[code]), sample()
    with torch.no_grad():  # a target of its own
        for p in model.target.parameters():
            p.mul_(1.3)
    draws, plain = [], module.draw_regions
    monkeypatch.setattr(
        module, 'draw_regions', lambda *args: draws.append(plain(*args)) or draws[-1]
    )
    loss = model.loss(inputs, batch)['loss']
    assert len(draws) == (2 if model.target_draw == 'own' else 1)
    assert all(d.shape == (6, 16) for d in draws)
    ids, target_ids = draws[0].chunk(2), draws[-1].chunk(2)
    assert not torch.equal(*ids)  # each view has its own

    def rows(network, predictor, chosen):
        out = []
        for v, image in enumerate(inputs):
            feats = network['backbone'](image)[-1]
            cells = model.view_regions(batch, v, image, feats.shape[-2:])
            for b in range(3):
                for i in chosen[v][b]:
                    pooled = feats[b][:, cells[b] == i].mean(1)
                    z = network['neck'].projector((pooled[None],))[0]
                    out.append(z if predictor is None else predictor((z,))[0])
        return [x.view(3, 16, 8) for x in torch.cat(out).chunk(2)]

    online = dict(backbone=model.backbone, neck=model.neck)
    predictions = rows(online, model.head.predictor, ids)
    targets = rows(model.target, None, target_ids)
    expected = model.head.loss_module(predictions, targets, ids, target_ids)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)


def test_only_regions_that_own_a_cell_are_drawn():
    """A region that a view shows, but nowhere most of, has no mask there."""
    inputs, batch = sample(1)
    labels = torch.zeros_like(batch.labels)
    labels[:, :, 40:] = 1  # 40 columns of 0, 24 of 1; a cell of the features is 32 wide
    labels[:, 0, 0] = 2
    whole = torch.tensor([[[0, 0, 1, 1, 0.0], [0, 0, 1, 1, 0.0]]])
    model, seen = build(), []
    model.head.loss = lambda p, t, ids, target_ids: seen.extend(ids) or p[0].sum()
    for _ in range(5):
        model.loss(inputs, RegionBatch(whole, labels, [3]))
    assert set(torch.cat(seen).flatten().tolist()) == {0, 1}


@pytest.mark.parametrize(('code', 'calls'), [('authors', [48, 48]), ('reproduction', [96])])
def test_joined_views_share_their_statistics(code, calls):
    """Their batch norms run once for both views, else once for each."""
    model, seen = build(**CODES[code]), []
    model.neck.projector.bn0.register_forward_pre_hook(lambda m, x: seen.append(len(x[0])))
    model.loss(*sample())
    assert seen == calls


def test_target_is_updated_where_the_hook_or_the_code_says():
    model = build(**CODES['reproduction'])
    with torch.no_grad():
        for p in model.backbone.parameters():
            p.mul_(1.5)
    old = model.target['backbone'].conv1.weight.clone()
    seen = []
    model.target['backbone'].register_forward_pre_hook(
        lambda m, args: seen.append(m.conv1.weight.clone())
    )
    model.pending_momentum = 0.5
    model.loss(*sample())
    torch.testing.assert_close(seen[0], 1.25 * old)
    assert model.pending_momentum is None
    model.loss(*sample())  # no second time without the hook
    assert torch.equal(seen[1], seen[0])


def test_draws_follow_the_global_generator():
    inputs, batch = sample()
    losses = []
    for seed in (1, 1, 2):
        model = build()
        torch.manual_seed(seed)
        losses.append(model.loss(inputs, batch)['loss'])
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize('code', CODES)
def test_batch_of_one_image_of_one_region(code):
    inputs, batch = sample(1)
    batch = RegionBatch(batch.views, torch.zeros_like(batch.labels), [1])
    model = build(num_masks=1, **CODES[code])
    loss = model.loss(inputs, batch)['loss']
    loss.backward()
    assert loss.isfinite()
    for name, p in trained(model).items():
        assert p.grad.isfinite().all(), name


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    """Half precision networks; masks and loss in fp32."""
    inputs, batch = sample()
    losses = []
    for enabled in (False, True):
        model = build()
        torch.manual_seed(1)
        with torch.autocast('cpu', dtype, enabled=enabled):
            losses.append(model.loss(inputs, batch)['loss'])
    losses[1].backward()
    assert losses[1].dtype == torch.float32
    assert abs(losses[1] - losses[0]) < 0.1
    assert all(p.grad.isfinite().all() for p in trained(model).values())


def test_bad_input_is_named():
    model = build()
    inputs, batch = sample()
    with pytest.raises(ValueError, match='needs two views, got 3; with .*keep_image=False'):
        model.loss([*inputs, inputs[0]], batch)
    with pytest.raises(ValueError, match='needs two views, got a single tensor'):
        model.loss(inputs[0], batch)
    with pytest.raises(ValueError, match='got label maps of shape None and 2 boxes.*Generate'):
        model.loss(inputs, RegionBatch(batch.views))
    with pytest.raises(ValueError, match=r'shape \(3, 64, 64\) and 1 boxes'):
        model.loss(inputs, RegionBatch(batch.views[:, :1], batch.labels, batch.counts))
    for name in ('target_draw', 'target_update', 'views'):
        with pytest.raises(ValueError, match=f"{name} must be one of .* got 'other'"):
            build(**{name: 'other'})
    with pytest.raises(ValueError, match='num_masks must be at least 1, got 0'):
        build(num_masks=0)
