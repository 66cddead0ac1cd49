"""The learning rate against a table worked out by hand, and inside mmengine's runner."""

import math

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from orl_mm.engine.schedulers import WarmupCosineLR
from orl_mm.registry import PARAM_SCHEDULERS

from .tiny import listen, tiny_runner

# W = 4, T = 12, base 8: t / 4 * 8, then 4 (1 + cos(pi (t - 4) / 8)).
ROOT2 = math.sqrt(2)
TABLE = [
    0.0,
    2.0,
    4.0,
    6.0,
    8.0,
    4 + 4 * math.cos(math.pi / 8),
    4 + 2 * ROOT2,
    4 + 4 * math.cos(3 * math.pi / 8),
    4.0,
    4 - 4 * math.cos(3 * math.pi / 8),
    4 - 2 * ROOT2,
    4 - 4 * math.cos(math.pi / 8),
    0.0,
]


def _optimizer(*rates):
    return torch.optim.SGD(
        [dict(params=[nn.Parameter(torch.zeros(1))], lr=rate) for rate in rates], lr=1.0
    )


def _run(scheduler, optimizer, steps, group=0):
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[group]['lr'])
        optimizer.step()
        scheduler.step()
    return rates


def test_table_and_beyond_the_end():
    optimizer = _optimizer(8.0)
    scheduler = WarmupCosineLR(optimizer, warmup=4, end=12, by_epoch=False)
    rates = _run(scheduler, optimizer, 16)
    assert rates[0] == 0.0
    assert rates[:13] == pytest.approx(TABLE, abs=1e-12)
    assert all(0.0 <= rate < 1e-12 for rate in rates[12:])


def test_each_group_keeps_its_own_base():
    optimizer = _optimizer(8.0, 0.8)
    rates = _run(WarmupCosineLR(optimizer, 4, 12, by_epoch=False), optimizer, 13, group=1)
    assert rates == pytest.approx([rate / 10 for rate in TABLE], abs=1e-12)


def test_without_warmup_it_starts_at_the_base():
    optimizer = _optimizer(8.0)
    scheduler = WarmupCosineLR(optimizer, 0, 8, by_epoch=False)
    assert _run(scheduler, optimizer, 9) == pytest.approx(TABLE[4:], abs=1e-12)


def test_factor_is_applied_to_the_step_and_never_compounds():
    optimizer = _optimizer(8.0)
    scheduler = WarmupCosineLR(optimizer, 4, 12, by_epoch=False)
    scheduler.set_factor(lambda step: 4.0 if step < 6 else 0.5)
    expected = [rate * (4.0 if t < 6 else 0.5) for t, rate in enumerate(TABLE)]
    assert _run(scheduler, optimizer, 13) == pytest.approx(expected, abs=1e-12)


def test_something_else_that_changes_the_rate_does_not_shift_the_curve():
    optimizer = _optimizer(8.0)
    scheduler = WarmupCosineLR(optimizer, 4, 12, by_epoch=False)
    rates = []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.param_groups[0]['lr'] *= 100.0
        scheduler.step()
    assert rates == pytest.approx(TABLE[:12], abs=1e-12)


@pytest.mark.parametrize('cut', [1, 3, 4, 9])
def test_resume_gives_the_rates_of_the_unbroken_run(cut):
    def factor(step):
        return 1.0 + step

    unbroken = _optimizer(8.0)
    whole = WarmupCosineLR(unbroken, 4, 12, by_epoch=False)
    whole.set_factor(factor)
    expected = _run(whole, unbroken, 13)

    first = _optimizer(8.0)
    before = WarmupCosineLR(first, 4, 12, by_epoch=False)
    before.set_factor(factor)
    _run(before, first, cut)
    state, optimizer_state = before.state_dict(), first.state_dict()
    assert 'factor' not in state

    second = _optimizer(8.0)
    after = WarmupCosineLR(second, 4, 12, by_epoch=False)
    second.load_state_dict(optimizer_state)
    after.load_state_dict(state)
    after.set_factor(factor)
    assert _run(after, second, 13 - cut) == expected[cut:]


def test_state_holds_plain_numbers_only():
    state = WarmupCosineLR(_optimizer(8.0, 1.0), 4, 12, by_epoch=False).state_dict()
    for value in state.values():
        assert value is None or all(
            type(v) in (int, float) for v in (value if isinstance(value, list) else [value])
        )


def test_another_number_of_iterations_keeps_the_epoch():
    def build(length):
        optimizer = _optimizer(8.0)
        return WarmupCosineLR.build_iter_from_epoch(
            optimizer, warmup=1, end=3, epoch_length=length
        ), optimizer

    before, optimizer = build(4)
    _run(before, optimizer, 6)  # epoch 1.5 of 3
    after, other = build(8)
    after.load_state_dict(before.state_dict())
    assert after.last_step == 12
    assert other.param_groups[0]['lr'] == pytest.approx(4 + 4 * math.cos(math.pi / 4))


def test_registry_converts_epochs():
    scheduler = PARAM_SCHEDULERS.build(
        dict(
            type='orl_mm.WarmupCosineLR',
            warmup=10,
            end=300,
            by_epoch=True,
            convert_to_iter_based=True,
        ),
        default_args=dict(optimizer=OptimWrapper(_optimizer(4.8)), epoch_length=313),
    )
    assert (scheduler.warmup, scheduler.end, scheduler.by_epoch) == (3130, 93900, False)
    scheduler.last_step = 313
    scheduler.refresh()
    assert scheduler.optimizer.param_groups[0]['lr'] == pytest.approx(0.48)


@pytest.mark.parametrize(
    ('args', 'word'),
    [
        (dict(warmup=4, end=12), 'convert_to_iter_based'),
        (dict(warmup=12, end=12, by_epoch=False), 'warmup'),
        (dict(warmup=-1, end=12, by_epoch=False), 'warmup'),
        (dict(warmup=4, by_epoch=False), 'end'),
    ],
)
def test_errors_name_the_fix(args, word):
    with pytest.raises(ValueError, match=word):
        WarmupCosineLR(_optimizer(8.0), **args)


def test_in_a_runner_with_scaled_rate_and_resume(tmp_path):
    """4 iterations an epoch, batch 2 for a base batch of 1: the base rate doubles."""
    scheduler = dict(
        type='orl_mm.WarmupCosineLR', warmup=1, by_epoch=True, convert_to_iter_based=True
    )
    common = dict(
        param_scheduler=scheduler,
        lr=4.0,
        epochs=3,
        auto_scale_lr=dict(base_batch_size=1, enable=True),
    )
    whole = tiny_runner(tmp_path / 'whole', **common)
    whole.train()
    rates = whole.model.rates
    assert [group[0] for group in rates] == pytest.approx(TABLE[:12], abs=1e-12)
    assert [group[1] for group in rates] == [group[0] for group in rates]

    broken = tiny_runner(tmp_path / 'broken', stop_after=2, **common)
    broken.train()
    resumed = tiny_runner(
        tmp_path / 'resumed', load_from=str(tmp_path / 'broken/epoch_2.pth'), resume=True, **common
    )
    messages = listen(resumed)
    resumed.train()
    assert not any('planned as' in m for m in messages)
    assert resumed.model.rates == rates[8:]
    assert torch.equal(resumed.model.online.weight, whole.model.online.weight)


def test_a_changed_plan_is_said_and_followed(tmp_path):
    scheduler = dict(type='orl_mm.WarmupCosineLR', warmup=4, end=12, by_epoch=False)
    tiny_runner(tmp_path / 'a', param_scheduler=scheduler, lr=8.0, epochs=1).train()
    longer = tiny_runner(
        tmp_path / 'b',
        param_scheduler=dict(scheduler, end=20),
        lr=8.0,
        epochs=2,
        load_from=str(tmp_path / 'a/epoch_1.pth'),
        resume=True,
    )
    messages = listen(longer)
    longer.train()
    assert sum("'end': 12" in m and "'end': 20" in m for m in messages) == 1
    assert [group[0] for group in longer.model.rates] == pytest.approx(
        [4 + 4 * math.cos(math.pi * t / 16) for t in range(4)]
    )
