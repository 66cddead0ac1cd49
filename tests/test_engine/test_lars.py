"""LARS against mmpretrain's class and against the published formula in numpy."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmpretrain.engine.optimizers import LARS as StockLARS
from torch import nn

from orl_mm.engine.optimizers import LARS


def _groups(params, exclude_last=True):
    groups = [dict(params=params[:-1])]
    groups.append(dict(params=params[-1:], weight_decay=0.0, lars_exclude=exclude_last))
    return groups


def _params(seed=0):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(8, 4), (5,), (3, 2, 3, 3), (7,)]
    return [nn.Parameter(torch.randn(s, generator=draw)) for s in shapes]


def _fill_grads(params, step):
    draw = torch.Generator().manual_seed(100 + step)
    for p in params:
        p.grad = torch.randn(p.shape, generator=draw)


@pytest.mark.parametrize(
    'extra',
    [
        dict(momentum=0.9, weight_decay=1e-6),
        dict(momentum=0.9, weight_decay=1e-2, nesterov=True),
        dict(momentum=0.9, weight_decay=1e-2, dampening=0.3),
        dict(momentum=0.0, weight_decay=1e-2),
    ],
)
def test_equals_mmpretrain_over_several_steps(extra):
    ours, theirs = _params(), _params()
    a = LARS(_groups(ours), lr=4.8, **extra)
    b = StockLARS(_groups(theirs), lr=4.8, **extra)
    for step in range(6):
        for group in a.param_groups + b.param_groups:
            group['lr'] = 4.8 / (step + 1)
        _fill_grads(ours, step)
        _fill_grads(theirs, step)
        if step == 2:  # a tensor that had no gradient, and one whose gradient is zero
            ours[0].grad = theirs[0].grad = None
            ours[1].grad.zero_()
            theirs[1].grad.zero_()
        a.step()
        b.step()
        for p, q in zip(ours, theirs, strict=False):
            torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)


def test_two_steps_by_hand():
    w = np.array([3.0, 4.0])  # norm 5
    p = nn.Parameter(torch.tensor(w, dtype=torch.float64))
    optimizer = LARS([p], lr=2.0, momentum=0.5, weight_decay=0.1, eta=0.01, eps=0.0)
    v = 0.0
    for g in (np.array([0.0, 2.0]), np.array([1.0, -1.0])):
        trust = 0.01 * np.linalg.norm(w) / (np.linalg.norm(g) + 0.1 * np.linalg.norm(w))
        v = 0.5 * v + 2.0 * trust * (g + 0.1 * w)
        w = w - v
        p.grad = torch.tensor(g)
        optimizer.step()
        np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-12)


@pytest.mark.parametrize(('weight', 'grad'), [([0.0, 0.0], [1.0, 2.0]), ([3.0, 4.0], [0.0, 0.0])])
def test_zero_weight_or_gradient_has_local_rate_one(weight, grad):
    p = nn.Parameter(torch.tensor(weight))
    p.grad = torch.tensor(grad)
    LARS([p], lr=0.5, weight_decay=0.1).step()
    expected = torch.tensor(weight) - 0.5 * (torch.tensor(grad) + 0.1 * torch.tensor(weight))
    torch.testing.assert_close(p.detach(), expected)


def test_excluded_group_is_plain_sgd():
    p = nn.Parameter(torch.tensor([3.0, 4.0]))
    p.grad = torch.tensor([1.0, 1.0])
    LARS([dict(params=[p], weight_decay=0.0, lars_exclude=True)], lr=0.1, weight_decay=1.0).step()
    torch.testing.assert_close(p.detach(), torch.tensor([2.9, 3.9]))


def test_mmpretrain_state_resumes_here():
    ours, theirs = _params(), _params()
    a = LARS(_groups(ours), lr=0.3, momentum=0.9, weight_decay=1e-6)
    b = StockLARS(_groups(theirs), lr=0.3, momentum=0.9, weight_decay=1e-6)
    for step in range(2):
        _fill_grads(theirs, step)
        b.step()
    a.load_state_dict(deepcopy(b.state_dict()))
    with torch.no_grad():
        for p, q in zip(ours, theirs, strict=False):
            p.copy_(q)
    for step in range(2, 4):
        _fill_grads(ours, step)
        _fill_grads(theirs, step)
        a.step()
        b.step()
    for p, q in zip(ours, theirs, strict=False):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)


def test_step_never_reads_a_value_to_the_host(monkeypatch):
    params = _params()
    optimizer = LARS(_groups(params), lr=0.3, momentum=0.9, weight_decay=1e-6)

    def forbidden(*args, **kwargs):
        raise AssertionError('the step waits for the device')

    for name in ('item', '__bool__', '__float__', 'tolist', 'cpu', 'numpy'):
        monkeypatch.setattr(torch.Tensor, name, forbidden)
    for step in range(2):
        _fill_grads(params, step)
        optimizer.step()


@pytest.mark.parametrize(
    'extra',
    [
        dict(lr=-1.0),
        dict(lr=1.0, momentum=-0.1),
        dict(lr=1.0, eta=-1.0),
        dict(lr=1.0, nesterov=True),
    ],
)
def test_impossible_arguments_are_refused(extra):
    with pytest.raises(ValueError, match='got'):
        LARS(_params(), **extra)
