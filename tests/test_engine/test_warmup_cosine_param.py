"""DINO's schedules against recorded arrays of the reference, in mmengine's runner too."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from orl_mm.engine.hooks import MomentumUpdateHook
from orl_mm.engine.schedulers import WarmupCosineParam

from .tiny import tiny_runner

PREFIX = 'cosine_scheduler.'
LR = dict(type='orl_mm.WarmupCosineParam', final=1e-6, warmup=1, convert_to_iter_based=True)
DECAY = dict(
    type='orl_mm.WarmupCosineParam',
    param_name='weight_decay',
    final=0.4,
    convert_to_iter_based=True,
)


@pytest.fixture(scope='module')
def golden():
    arrays = np.load(Path(__file__).parents[1] / 'data' / 'dino.npz', allow_pickle=False)
    return {name[len(PREFIX) :]: arrays[name] for name in arrays if name.startswith(PREFIX)}


def _optimizer(lr=1.0, weight_decay=0.0):
    return torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=lr, weight_decay=weight_decay)


def _run(scheduler, optimizer, steps, name):
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0][name])
        optimizer.step()
        scheduler.step()
    return values


def test_learning_rate_of_the_reference(golden):
    optimizer = _optimizer(lr=5e-4)
    scheduler = WarmupCosineParam(optimizer, final=1e-6, warmup=14, end=70, by_epoch=False)
    np.testing.assert_allclose(
        _run(scheduler, optimizer, 70, 'lr'),
        golden['base=5e-4,final=1e-6,epochs=10,iters=7,warmup=2'],
        atol=1e-12,
        rtol=0,
    )


def test_weight_decay_of_the_reference(golden):
    optimizer = _optimizer(weight_decay=0.04)
    scheduler = WarmupCosineParam(
        optimizer, final=0.4, end=70, by_epoch=False, param_name='weight_decay'
    )
    np.testing.assert_allclose(
        _run(scheduler, optimizer, 70, 'weight_decay'),
        golden['base=0.04,final=0.4,epochs=10,iters=7,warmup=0'],
        atol=1e-12,
        rtol=0,
    )
    assert optimizer.param_groups[0]['lr'] == 1.0


def test_momentum_of_the_reference(golden):
    hook = MomentumUpdateHook(momentum=0.996, end_momentum=1.0)
    np.testing.assert_allclose(
        [hook.momentum_at(step, 70) for step in range(70)],
        golden['base=0.996,final=1,epochs=10,iters=7,warmup=0'],
        atol=1e-12,
        rtol=0,
    )


def test_groups_without_decay_stay_at_zero():
    optimizer = torch.optim.AdamW(
        [dict(params=[nn.Parameter(torch.zeros(1))], weight_decay=decay) for decay in (0.04, 0.0)]
    )
    scheduler = WarmupCosineParam(
        optimizer, final=0.4, end=4, by_epoch=False, param_name='weight_decay'
    )
    for _ in range(3):
        optimizer.step()
        scheduler.step()
        assert optimizer.param_groups[0]['weight_decay'] > 0.04
        assert optimizer.param_groups[1]['weight_decay'] == 0.0


def test_runner_converts_epochs_and_resuming_continues(tmp_path):
    """4 iterations an epoch, 3 epochs: a run killed after epoch 1 and resumed is as unbroken."""

    def schedule(folder, stop=None, **kwargs):
        runner = tiny_runner(
            tmp_path / folder, param_scheduler=[LR, DECAY], stop_after=stop, **kwargs
        )
        runner.train()
        return runner, runner.model.rates

    unbroken, rates = schedule('a')
    assert [r[0] for r in rates[:4]] == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])
    expected = [1e-6 + 0.5 * (1 - 1e-6) * (1 + np.cos(np.pi * i / 8)) for i in range(8)]
    assert [r[0] for r in rates[4:]] == pytest.approx(expected)
    schedule('b', stop=1)
    resumed, more = schedule('b', resume=True)
    assert more == rates[4:]
    for mine, its in zip(
        resumed.optim_wrapper.param_groups, unbroken.optim_wrapper.param_groups, strict=False
    ):
        assert mine['weight_decay'] == its['weight_decay']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(final=0.0, end=5), 'convert_to_iter_based'),
        (dict(final=0.0, by_epoch=False), '0 <= warmup < end'),
        (dict(final=0.0, warmup=5, end=5, by_epoch=False), '0 <= warmup < end'),
    ],
)
def test_bad_plans(arguments, message):
    with pytest.raises(ValueError, match=message):
        WarmupCosineParam(_optimizer(), **arguments)
