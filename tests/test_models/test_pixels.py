"""PixPro's formulas against its own code's numbers, and against loops over cells."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from orl_mm.models.baselines.pixpro import near_cells
from orl_mm.models.baselines.pixpro_head import pixel_consistency, propagate
from orl_mm.models.baselines.pixpro_neck import PixelMLP

GOLDEN = Path(__file__).parents[1] / 'data' / 'pixpro.npz'


def by_cell(maps):
    return maps.flatten(2).transpose(1, 2)


def unit(*shape, seed=0):
    draw = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return nn.functional.normalize(draw, dim=-1)


@pytest.fixture(scope='module')
def golden():
    with np.load(GOLDEN, allow_pickle=False) as data:
        return {key: torch.from_numpy(np.asarray(data[key])) for key in data}


def boxes(golden, name):
    return torch.cat([golden[name], torch.zeros(4, 1)], 1)


def test_equals_the_public_codes_loss_and_gradient(golden):
    q = golden['q'].clone().requires_grad_()
    near = near_cells(
        boxes(golden, 'box_q'), boxes(golden, 'box_k'), q.shape[-2:], float(golden['pos_ratio'])
    )
    assert near.flatten(1).any(1).all()
    loss = pixel_consistency(by_cell(q), by_cell(golden['k']), near)
    loss.backward()
    torch.testing.assert_close(loss, golden['loss'], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(q.grad, golden['grad_q'], atol=1e-7, rtol=1e-5)
    assert q.grad.abs().max() > 1e-3


def test_a_flipped_view_is_the_mirrored_map(golden):
    """Mirror the map and say so in the view: the same pairs, the same loss."""
    boxed = boxes(golden, 'box_q'), boxes(golden, 'box_k')
    boxed[0][:, 4] = 1
    near = near_cells(*boxed, 7, 0.7)
    loss = pixel_consistency(by_cell(golden['q'].flip(3)), by_cell(golden['k']), near)
    torch.testing.assert_close(loss, golden['loss'], atol=1e-6, rtol=1e-5)


def test_consistency_against_loops():
    """The mean over each image's pairs, then over all images, those without a pair as zero."""
    pred, target = unit(4, 6, 5), unit(4, 7, 5, seed=1)
    positive = torch.rand(4, 6, 7, generator=torch.Generator().manual_seed(2)) < 0.3
    positive[2] = False
    total = 0.0
    for b in range(4):
        pairs = [(i, j) for i in range(6) for j in range(7) if positive[b, i, j]]
        dots = [float(pred[b, i] @ target[b, j]) for i, j in pairs]
        total += sum(dots) / len(dots) if dots else 0.0
    found = pixel_consistency(pred, target, positive)
    assert float(found) == pytest.approx(-2 * total / 4, abs=1e-6)


def test_bounds_of_the_loss():
    cells = unit(2, 9, 4)
    each = torch.eye(9, dtype=torch.bool).expand(2, -1, -1)
    assert float(pixel_consistency(cells, cells, each)) == pytest.approx(-2)
    assert float(pixel_consistency(cells, -cells, each)) == pytest.approx(2)


def test_no_positive_is_a_connected_zero():
    pred = unit(2, 9, 4).requires_grad_()
    loss = pixel_consistency(pred, unit(2, 9, 4), torch.zeros(2, 9, 9, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert (pred.grad == 0).all()


def test_no_gradient_reaches_the_target():
    pred, target = unit(1, 2, 3).requires_grad_(), unit(1, 2, 3, seed=1).requires_grad_()
    pixel_consistency(pred, target, torch.ones(1, 2, 2, dtype=torch.bool)).backward()
    assert target.grad is None
    assert pred.grad.abs().sum() > 0


def test_shapes_that_do_not_agree_are_refused():
    for shape in ((1, 2, 4), (2, 3, 4), (2, 2, 3)):
        with pytest.raises(ValueError, match=r'must be \(B, N, D\), \(B, M, D\) and \(B, N, M\)'):
            pixel_consistency(unit(2, 2, 3), unit(2, 4, 3), torch.ones(shape, dtype=torch.bool))


@pytest.mark.parametrize('power', [0.5, 1.0, 2.0, 3.0])
def test_propagation_against_loops(power):
    cells = 3 * torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    values = 5 * torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1))
    found = propagate(cells, values, power)
    negative = 0
    for b in range(2):
        for i in range(6):
            expected = torch.zeros(3)
            for j in range(6):
                a, c = cells[b, i], cells[b, j]
                cosine = float(a @ c / a.norm() / c.norm())
                negative += cosine < 0
                similar = (max(cosine, 0) + (1e-6 if power < 1 else 0)) ** power
                expected += similar * values[b, j] / values[b, j].norm()
            torch.testing.assert_close(found[b, i], expected, atol=1e-5, rtol=1e-5)
    assert negative > 10


@pytest.mark.parametrize('power', [0.5, 1.0, 2.0])
def test_gradient_of_propagation_is_finite(power):
    """Also where cells are equal, opposite, at right angles or zero."""
    cells = torch.tensor([[[1.0, 0], [1, 0], [-1, 0], [0, 1], [0, 0]]], requires_grad=True)
    values = torch.randn(1, 5, 2, requires_grad=True)
    propagate(cells, values, power).square().sum().backward()
    assert cells.grad.isfinite().all()
    assert values.grad.isfinite().all()


def test_half_precision_is_left_for_fp32():
    """Under autocast and for half precision input alike."""
    cells, values = (torch.randn(2, 9, 8).bfloat16() for _ in range(2))
    positive = torch.ones(2, 9, 9, dtype=torch.bool)
    with torch.autocast('cpu', torch.bfloat16):
        out = propagate(cells, values)
        loss = pixel_consistency(out, out, positive)
    assert out.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(out, propagate(cells.float(), values.float()))
    torch.testing.assert_close(loss, pixel_consistency(out, out, positive))


@pytest.mark.parametrize('memory', [torch.contiguous_format, torch.channels_last])
def test_projector_is_convolutions_with_batch_norm(memory):
    """Outputs, gradients and running statistics of the layers as the public code writes them."""
    torch.manual_seed(0)
    mlp = PixelMLP(
        6,
        10,
        4,
        num_layers=2,
        with_bias=True,
        with_last_bn=False,
        with_last_bias=True,
        norm_cfg=dict(type='BN1d'),
    ).train()
    norm = nn.BatchNorm2d(10)
    convs = nn.Sequential(nn.Conv2d(6, 10, 1), norm, nn.ReLU(), nn.Conv2d(10, 4, 1)).train()
    with torch.no_grad():
        for conv, linear in ((convs[0], mlp.fc0), (convs[3], mlp.fc1)):
            linear.weight.copy_(conv.weight.flatten(1))
            linear.bias.copy_(conv.bias)
    feats = torch.randn(3, 6, 5, 7).to(memory_format=memory)
    mine, theirs = (feats.clone().requires_grad_() for _ in range(2))
    out, expected = mlp((None, mine))[0], convs(theirs)
    assert out.shape == (3, 4, 5, 7)
    weight = torch.randn_like(expected)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        mlp.fc0.weight.grad, convs[0].weight.grad.flatten(1), atol=1e-5, rtol=1e-4
    )
    for name in ('running_mean', 'running_var'):
        torch.testing.assert_close(getattr(mlp.bn0, name), getattr(norm, name))
    torch.testing.assert_close(mlp(feats)[0], out)  # a map alone
