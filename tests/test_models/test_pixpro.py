"""PixPro's step: what is learned from what, where the target moves, and bad input."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample

from orl_mm.models import PixPro
from orl_mm.structures import RegionBatch

SIDE, GRID = 64, 4


def build(norm=None, **kwargs):
    """A ResNet-18 of 8 channels with 4 x 4 cells; ``norm`` None: batch norm."""
    torch.manual_seed(0)
    norms = {} if norm is None else dict(norm_cfg=norm)
    model = PixPro(
        backbone=dict(
            type='mmpretrain.ResNet',
            depth=18,
            base_channels=8,
            stem_channels=8,
            strides=(1, 2, 2, 1),
            zero_init_residual=False,
            **norms,
        ),
        neck=dict(
            type='orl_mm.PixelMLP',
            in_channels=64,
            hid_channels=16,
            out_channels=8,
            num_layers=2,
            with_bias=True,
            with_last_bn=False,
            with_last_bias=True,
            norm_cfg=norm or dict(type='BN1d'),
        ),
        head=dict(type='orl_mm.PixelPropagationHead', channels=8),
        **kwargs,
    )
    model.init_weights()
    return model.train()


GROUPS = dict(type='GN', num_groups=2)
MEETING = [[0, 0, 0.8, 0.8, 0], [0.2, 0.1, 1, 1, 1.0]]
APART = [[0, 0, 0.3, 0.3, 0], [0.7, 0.7, 1, 1, 0.0]]


def sample(views=(MEETING,) * 4):
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(len(views), 3, SIDE, SIDE, generator=generator) for _ in range(2)]
    return inputs, RegionBatch(torch.tensor(views))


def trained(model):
    return {n: p for n, p in model.named_parameters() if not n.startswith('target.')}


def test_gradients_reach_the_online_network_alone():
    model = build()
    loss = model.loss(*sample())['loss']
    loss.backward()
    assert 0 < loss.abs() <= 4
    for name, p in trained(model).items():
        assert p.grad.isfinite().all(), name
        if name != 'neck.fc0.bias':  # batch norm takes the mean away again
            assert p.grad.abs().max() > 1e-5, name
    assert all(p.grad is None and not p.requires_grad for p in model.target.parameters())


def test_loss_is_that_of_the_steps_by_hand():
    """Networks, propagation, target and pairs, cell by cell; no batch norm between images."""
    views = (MEETING, MEETING[::-1], APART, [[0, 0, 1, 1, 0], [0.5, 0.5, 1, 1, 0.0]])
    model, (inputs, batch) = build(GROUPS), sample(views)
    with torch.no_grad():  # a target of its own
        for p in model.target.parameters():
            p.add_(0.2 * torch.randn_like(p))
    loss = model.loss(inputs, batch)['loss']

    def grid(network, image):
        feats = network['backbone'](image[None])[-1][0]
        rows = torch.stack([feats[:, y, x] for y in range(GRID) for x in range(GRID)])
        projector = network['neck']
        hidden = F.relu(projector.bn0(projector.fc0(rows)))
        return projector.fc1(hidden)

    def center(box, cell):
        x1, y1, x2, y2, flip = box
        column, row = cell % GRID, cell // GRID
        column = GRID - 1 - column if flip else column
        return (
            torch.tensor(
                [x1 + (x2 - x1) * (column + 0.5) / GRID, y1 + (y2 - y1) * (row + 0.5) / GRID]
            ),
            ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5 / GRID,
        )

    online = dict(backbone=model.backbone, neck=model.neck)
    total, counts = 0.0, []
    for b, boxes in enumerate(views):
        x = [grid(online, inputs[v][b]) for v in (0, 1)]
        z = [grid(model.target, inputs[v][b]) for v in (0, 1)]
        for mine, other in ((0, 1), (1, 0)):
            similar = F.cosine_similarity(x[mine][:, None], x[mine], dim=-1).clamp(min=0) ** 2
            y = similar @ F.normalize(model.head.transform(x[mine]), dim=-1)
            terms = []
            for i in range(GRID**2):
                for j in range(GRID**2):
                    (p, one), (q, two) = center(boxes[mine], i), center(boxes[other], j)
                    if (p - q).norm() < 0.7 * max(one, two):
                        terms.append(F.cosine_similarity(y[i], z[other][j], dim=0))
            counts.append(len(terms))
            total += -2 * sum(terms) / max(len(terms), 1) / len(views)
    assert counts[4:6] == [0, 0]
    assert min(counts[:4] + counts[6:]) > 3
    torch.testing.assert_close(loss, total, atol=1e-5, rtol=1e-5)


def test_views_without_overlap_are_a_connected_zero():
    model, (inputs, batch) = build(), sample((APART,) * 4)
    loss = model.loss(inputs, batch)['loss']
    loss.backward()
    assert loss == 0
    for name, p in trained(model).items():
        assert (p.grad == 0).all(), name


def test_mean_over_processes_is_the_joined_batch():
    """Halves of a batch, with unlike shares of pairs, give its loss and its gradient."""
    views = (MEETING, MEETING, APART, [[0, 0, 0.5, 1, 0], [0.4, 0, 1, 1, 0.0]])
    model, (inputs, batch) = build(GROUPS), sample(views)
    whole = model.loss(inputs, batch)['loss']
    whole.backward()
    gradients = [p.grad.clone() for p in trained(model).values()]
    model.zero_grad()
    halves = [
        model.loss([x[half] for x in inputs], RegionBatch(batch.views[half]))['loss']
        for half in (slice(0, 2), slice(2, 4))
    ]
    (sum(halves) / 2).backward()
    assert halves[0] != halves[1]
    torch.testing.assert_close(sum(halves) / 2, whole)
    for p, expected in zip(trained(model).values(), gradients, strict=False):
        torch.testing.assert_close(p.grad, expected, atol=1e-6, rtol=1e-4)


def test_each_view_has_its_own_statistics():
    model, seen = build(), []
    for network in (model.neck, model.target['neck']):
        network.bn0.register_forward_pre_hook(lambda m, x: seen.append(len(x[0])))
    model.loss(*sample())
    assert seen == [4 * GRID**2] * 4
    # The target's batch norms track statistics of their own.
    assert model.target['backbone'].bn1.num_batches_tracked == 2
    assert model.target['backbone'].bn1.training


def test_target_moves_between_the_online_views_and_its_own():
    model = build()
    with torch.no_grad():
        for p in model.backbone.parameters():
            p.mul_(1.5)
    old, seen = model.target['backbone'].conv1.weight.clone(), []
    for network in (model.backbone, model.target['backbone']):
        network.register_forward_pre_hook(
            lambda m, args: seen.append(model.target['backbone'].conv1.weight.clone())
        )
    model.pending_momentum = 0.6
    model.loss(*sample())
    assert torch.equal(seen[0], old)
    assert torch.equal(seen[1], old)
    torch.testing.assert_close(seen[2], (0.6 + 0.4 * 1.5) * old)
    assert torch.equal(seen[3], seen[2])
    assert model.pending_momentum is None
    model.loss(*sample())  # no second time without the hook
    assert torch.equal(model.target['backbone'].conv1.weight, seen[2])


def test_both_directions_and_the_flip_count():
    """Exchanged views give the same loss, a forgotten flip another one."""
    model, (inputs, batch) = build(GROUPS), sample()
    loss = model.loss(inputs, batch)['loss']
    exchanged = model.loss(inputs[::-1], RegionBatch(batch.views.flip(1)))['loss']
    torch.testing.assert_close(exchanged, loss)
    unflipped = batch.views.clone()
    unflipped[:, :, 4] = 0
    assert (model.loss(inputs, RegionBatch(unflipped))['loss'] - loss).abs() > 1e-4


def test_power_and_pos_ratio_are_passed_on():
    (inputs, batch), losses = sample(), []
    for kwargs in ({}, dict(pos_ratio=2.0)):
        losses.append(build(**kwargs).loss(inputs, batch)['loss'].item())
    model = build()
    model.head.power = 1.0
    losses.append(model.loss(inputs, batch)['loss'].item())
    assert len(set(losses)) == 3


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    """Half precision networks; propagation, pairs and loss in fp32."""
    inputs, batch = sample()
    losses = []
    for enabled in (False, True):
        model = build()
        with torch.autocast('cpu', dtype, enabled=enabled):
            losses.append(model.loss(inputs, batch)['loss'])
    losses[1].backward()
    assert losses[1].dtype == torch.float32
    assert abs(losses[1] - losses[0]) < 0.05
    assert all(p.grad.isfinite().all() for p in trained(model).values())


def test_bad_input_is_named():
    model, (inputs, batch) = build(), sample()
    with pytest.raises(ValueError, match='needs two views, got 3; .*GenerateSuperpixels'):
        model.loss([*inputs, inputs[0]], batch)
    with pytest.raises(ValueError, match='needs two views, got a single tensor'):
        model.loss(inputs[0], batch)
    with pytest.raises(ValueError, match=r'same size, got \(4, 3, 64, 64\) and \(4, 3, 32, 32\)'):
        model.loss([inputs[0], inputs[1][:, :, ::2, ::2]], batch)
    with pytest.raises(ValueError, match=r'boxes of two views of 4 images.*got \(4, 1, 5\)'):
        model.loss(inputs, RegionBatch(batch.views[:, :1]))
    with pytest.raises(ValueError, match=r'got \(3, 2, 5\)'):
        model.loss(inputs, RegionBatch(batch.views[:3]))
    with pytest.raises(ValueError, match='data samples lack `views`'):
        model.loss(inputs, [DataSample() for _ in range(4)])
    with pytest.raises(ValueError, match='pos_ratio must be above 0, got 0'):
        build(pos_ratio=0)
    with pytest.raises(ValueError, match='power must be above 0, got -1'):
        type(model.head)(channels=8, power=-1)
