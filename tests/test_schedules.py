"""Schedules against numbers worked out by hand, recorded arrays, and whole runs of a tiny model."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from torch import nn

from orl_mm.engine.hooks import KMeansRefineHook, MomentumUpdateHook
from orl_mm.registry import PARAM_SCHEDULERS
from orl_mm.schedules import ParamSchedule, Schedule, WarmupCosineParam
from tests.test_engine.tiny import TinyModel, listen, tiny_runner

CONFIGS = Path(__file__).parents[1] / 'configs'
HALF = math.sqrt(0.5)
QUARTER = dict(type='quarter_cosine', points=[2, 4])
DINO = dict(warmup_start=2, inclusive=True)


@pytest.mark.parametrize(
    ('arguments', 'positions', 'expected'),
    [
        (
            dict(values=[1, 3, 0], points=[2, 4, 5]),
            (0, 2, 2.5, 4.25, 5, 9),
            [1, 1, 1.5, 2.25, 0, 0],
        ),
        (dict(values=[1, 3, 7], points=[2, 4, 6], extrapolate=True), (0, 2, 5, 8), [-1, 1, 5, 11]),
        (dict(values=[0, 8], type='cosine', points=[0, 4]), (0, 1, 2, 5), [0, 4 - 4 * HALF, 4, 8]),
        (dict(QUARTER, values=[9, 1]), (0, 2, 3, 4, 5), [9, 9, 1 + 8 * HALF, 1, 1]),
        (dict(QUARTER, values=[1, 9]), (0, 2, 3, 4, 5), [1, 1, 1 + 8 * HALF, 9, 9]),
        (dict(values=[5, 1, 2], type='step', points=[1, 3, 4]), (0, 2.9, 3, 4, 8), [5, 5, 1, 2, 2]),
        (dict(values=[5], type='constant'), (0, 99), [5, 5]),
        # Points that are left out: equally spaced to the end of the run, or to `end`.
        (dict(values=[0, 4, 5]), (0, 2.5, 5, 7.5, 10, 11), [0, 2, 4, 4.5, 5, 5]),
        (dict(values=[0, 4], end=4), (0, 3, 4, 10), [0, 3, 4, 4]),
        # Warm-up to the first value: reached after it, or by its last step.
        (dict(values=[8, 2, 0], warmup=4), (2, 7, 8.5), [4, 2, 1]),
        (dict(values=[8, 0], warmup=4), (0, 1, 3, 4, 7, 10), [0, 2, 6, 8, 4, 0]),
        (dict(values=[8], warmup=3, **DINO), (0, 1, 2, 3, 9), [2, 5, 8, 8, 8]),
        (dict(values=[8], warmup=1, **DINO), (0, 1), [2, 8]),
    ],
)
def test_values(arguments, positions, expected):
    schedule = Schedule(**arguments)
    assert [schedule(t, end=10) for t in positions] == pytest.approx(expected)


def test_build():
    assert Schedule.build(0.5)(7) == 0.5
    schedule = Schedule.build(dict(values=[0, 1], epochs=[0, 2]))
    assert schedule(1) == 0.5
    assert Schedule.build(schedule) is schedule


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(values=[]), 'at least one'),
        (dict(values=[1, 2], points=[0]), 'one point'),
        (dict(values=[1, 2], points=[1, 1]), 'must increase'),
        (dict(values=[1, 2], points=[1, 2], end=3), 'not both'),
        (dict(values=[1], type='poly'), 'must be one of'),
        (dict(values=[1, 2], type='constant'), 'piecewise'),
        (dict(values=[1, 2], type='piecewise'), 'needs points'),
        (dict(values=[1, None], type='cosine'), 'None'),
        (dict(values=[1, 2], warmup=-1), 'warmup'),
    ],
)
def test_wrong_schedules(arguments, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**arguments)
    with pytest.raises(ValueError, match='needs end'):
        Schedule([1, 2])(0)


# K of the refinement: epochs from 1, as the authors count.


def k_at(at, **schedule):
    hook = KMeansRefineHook(schedule)
    return [hook.k_at(epoch - 1, 300) for epoch in at]


def authors_k(epoch, total, start, end):
    """``utils/scheduler.py`` of the public code, K falling."""
    return int((start - end) * np.cos(epoch / total * np.pi / 2) + end)


def test_k_of_the_public_code():
    epochs = range(1, 301)
    expected = [authors_k(e, 300, 128, 4) for e in epochs]
    assert [expected[e - 1] for e in (1, 100, 150, 200, 299)] == [127, 111, 91, 66, 4]
    assert k_at(epochs, type='cosine', values=[128, 4]) == expected
    assert k_at(epochs, type='cosine', values=[128, 4], epochs=[0, 300]) == expected
    assert k_at((0, 400), type='cosine', values=[128, 4]) == [128, 4]
    # Rising: 4 + 124 sin(pi / 12) = 36.09 and 4 + 124 sin(pi / 3) = 111.4.
    assert k_at((0, 50, 200, 300), type='cosine', values=[4, 128]) == [4, 36, 111, 128]


@pytest.mark.parametrize(
    ('type', 'epochs', 'values', 'at', 'expected'),
    [
        ('piecewise', [0, 150, 300], [1, 64, 32], (1, 149, 150, 299, 300), [1, 1, 64, 64, 32]),
        ('piecewise', [10, 20], [8, 16], (1, 20), [8, 16]),
        ('piecewise', [1, 3, 5], [None, 200, 16], range(1, 7), [None] * 4 + [16] * 2),
        # Continues with slope 2 outside its points; -8 becomes at least one object.
        ('linear', [10, 20, 40], [10, 30, 70], (1, 8, 15, 25, 45), [1, 6, 20, 40, 80]),
        ('linear', [0, 1000], [128, 138], (99, 100), [128, None]),  # 128.99 and 129
        ('linear', None, [128, 4], (1, 75, 150, 299, 300), [127, 97, 66, 4, 4]),
        ('constant', None, [128], (1,), [128]),
        ('constant', None, [129], (1,), [None]),
        ('constant', None, [None], (1,), [None]),
    ],
)
def test_k(type, epochs, values, at, expected):
    assert k_at(at, type=type, epochs=epochs, values=values) == expected


def test_k_without_limit():
    assert k_at((1,), type='constant', values=[129], off_above=None) == [129]


# The optimizer's parameters. W = 4, T = 12, base 8: t / 4 * 8, then 4 (1 + cos(pi (t - 4) / 8)).
TABLE = [2.0 * t if t < 4 else 4 + 4 * math.cos(math.pi * (t - 4) / 8) for t in range(13)]
WARMUP = dict(warmup=4, end=12, by_epoch=False)


def optimizer_of(*rates, **kwargs):
    return torch.optim.SGD(
        [dict(params=[nn.Parameter(torch.zeros(1))], lr=rate) for rate in rates], lr=1.0, **kwargs
    )


def run(scheduler, steps, group=0, disturb=1.0):
    values = []
    group = scheduler.optimizer.param_groups[group]
    for _ in range(steps):
        values.append(group[scheduler.param_name])
        group[scheduler.param_name] *= disturb
        scheduler.optimizer.step()
        scheduler.step()
    return values


def test_learning_rate_starts_at_zero_and_stays_at_the_end():
    rates = run(ParamSchedule(optimizer_of(8.0), **WARMUP), 16)
    assert rates[0] == 0.0
    assert rates[:13] == pytest.approx(TABLE, abs=1e-12)
    assert rates[12:] == [0.0] * 4


def test_groups_follow_their_own_value():
    def build():
        optimizer = optimizer_of(8.0, 0.8, 8.0)
        optimizer.param_groups[2]['fix_lr'] = True
        return ParamSchedule(optimizer, **WARMUP)

    assert run(build(), 13, group=1) == pytest.approx([rate / 10 for rate in TABLE], abs=1e-12)
    assert run(build(), 13, group=2) == [8.0] * 13


def test_other_curves():
    steps = dict(curve='piecewise', factors=[1, 0.5, 0.1], points=[0, 2, 5])
    scheduler = ParamSchedule(optimizer_of(2.0), end=9, by_epoch=False, **steps)
    assert run(scheduler, 7) == pytest.approx([2, 2, 1, 1, 1, 0.2, 0.2])
    line = dict(curve='linear', final=0.2, param_name='momentum')
    scheduler = ParamSchedule(optimizer_of(2.0, momentum=0.8), end=3, by_epoch=False, **line)
    assert run(scheduler, 4) == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_nothing_compounds():
    """Neither the factor of K / 16 nor a change made by something else shifts the curve."""
    scheduler = ParamSchedule(optimizer_of(8.0), **WARMUP)
    scheduler.set_factor(lambda step: 4.0 if step < 6 else 0.5)
    expected = [rate * (4.0 if t < 6 else 0.5) for t, rate in enumerate(TABLE)]
    assert run(scheduler, 13, disturb=100.0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('cut', [1, 3, 4, 9])
def test_resumed_values_are_those_of_the_unbroken_run(cut):
    def build():
        return ParamSchedule(optimizer_of(8.0), **WARMUP)

    def factor(step):
        return 1.0 + step

    whole, before, after = build(), build(), build()
    for scheduler in (whole, before):
        scheduler.set_factor(factor)
    expected = run(whole, 13)
    run(before, cut)
    state = before.state_dict()
    for value in state.values():  # plain numbers
        assert value is None or np.asarray(value).dtype.kind in 'if'
    after.load_state_dict(state)
    after.set_factor(factor)
    assert run(after, 13 - cut) == expected[cut:]


def test_epochs_of_another_length_keep_the_position():
    def build(length):
        return ParamSchedule.build_iter_from_epoch(
            optimizer_of(8.0), warmup=1, end=3, epoch_length=length
        )

    before, after = build(4), build(8)
    run(before, 6)  # epoch 1.5 of 3
    after.load_state_dict(before.state_dict())
    assert after.last_step == 12
    rate = after.optimizer.param_groups[0]['lr']
    assert rate == pytest.approx(4 + 4 * math.cos(math.pi / 4))


def test_schedules_of_dino():
    """Recorded arrays of ``utils.py``, ``cosine_scheduler``: 10 epochs of 7 steps."""
    arrays = np.load(Path(__file__).parent / 'data' / 'dino.npz', allow_pickle=False)

    def equal(values, name):
        recorded = arrays[f'cosine_scheduler.{name}']
        np.testing.assert_allclose(values, recorded, atol=1e-12, rtol=0)

    lr = WarmupCosineParam(optimizer_of(5e-4), final=1e-6, warmup=14, end=70, by_epoch=False)
    equal(run(lr, 70), 'base=5e-4,final=1e-6,epochs=10,iters=7,warmup=2')
    optimizer = optimizer_of(1.0, 1.0, weight_decay=0.04)
    optimizer.param_groups[1]['weight_decay'] = 0.0
    decay = WarmupCosineParam(
        optimizer, final=0.4, end=70, by_epoch=False, param_name='weight_decay'
    )
    equal(run(decay, 70), 'base=0.04,final=0.4,epochs=10,iters=7,warmup=0')
    assert optimizer.param_groups[1]['weight_decay'] == 0.0
    assert optimizer.param_groups[0]['lr'] == 1.0
    momentum = MomentumUpdateHook(momentum=0.996, end_momentum=1.0).schedule
    equal([momentum(t, 70) for t in range(70)], 'base=0.996,final=1,epochs=10,iters=7,warmup=0')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(warmup=4, end=12), 'convert_to_iter_based'),
        (dict(warmup=-1, end=12, by_epoch=False), 'warmup'),
        (dict(warmup=4, by_epoch=False), 'end=1000000000'),
    ],
)
def test_wrong_param_schedules(arguments, message):
    with pytest.raises(ValueError, match=message):
        ParamSchedule(optimizer_of(8.0), **arguments)
    with pytest.raises(ValueError, match='batch_size'):
        ParamSchedule.build_iter_from_epoch(optimizer_of(8.0), warmup=1, end=2, epoch_length=0)


# Presets at full length: config -> W, T, in epochs (steps for the demo).
LENGTHS = {
    'r2o/r50_in1k': (10, 300),
    'r2o/r50_in1k_100e': (10, 100),
    'r2o/r50_in1k_official': (3, 300),
    'r2o/r50_in1k_100e_simsiam': (0, 100),
    'r2o/demo': (10, 100),
    'r2o/small/r2o': (1, 12),
    'r2o/mixing/byol_r50_in1k': (10, 200),
    'r2o/mixing/densecl_r50_in1k': (0, 200),
    'baselines/byol_100e_r50_in1k': (10, 100),
    'baselines/detcon-b_r50_in1k': (3, 300),
    'baselines/detcon-b_100e_r50_in1k': (3, 100),
    'baselines/detcon-b_paper_100e_r50_in1k': (1, 100),
    'baselines/pixpro_r50_in1k': (5, 400),
    'baselines/pixpro_100e_r50_in1k': (5, 100),
    'transfer/jsrt/deeplabv3_r18_small': (2, 30),
    'transfer/voc/small/fcn': (1, 24),
    'transfer/voc/small/linear': (1, 48),
    'baselines/dino_vits16_in1k': (10, 100, 1e-6, 0.4),
    'medino/vits16_chexpert_dino': (10, 30, 1e-6, 0.4),
    'medino/small/dino': (2, 10, 1e-5, 0.1),
    'medino/demo': (3, 20, 1e-5, 0.1),
    'medino/mixing/vits16_chexpert_mocov3_triangular': (10, 30, 0.0),
}


@pytest.mark.parametrize('name', LENGTHS)
def test_presets_at_full_length(name):
    """Seven steps an epoch; `end` is filled in from the loop as mmengine's runner does."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    warmup, total, *finals = LENGTHS[name]
    assert cfg.train_cfg.get('max_epochs', cfg.train_cfg.get('max_iters')) == total
    length = 7 if 'max_epochs' in cfg.train_cfg else 1
    optimizer = OptimWrapper(optimizer_of(2.0, weight_decay=0.05))
    built = [
        PARAM_SCHEDULERS.build(
            dict(dict(end=total), **cfg_of_one),
            default_args=dict(optimizer=optimizer, epoch_length=length),
        )
        for cfg_of_one in cfg.param_scheduler
    ]
    assert len(built) == max(len(finals), 1)
    for scheduler, final in zip(built, finals or [0.0], strict=True):
        lr = scheduler.param_name == 'lr'
        base, w = (2.0, warmup * length) if lr else (0.05, 0)
        for t in {*range(0, total * length, 13), w, max(w - 1, 0), w + 1}:
            done = (t - w) / (total * length - w)
            expected = final + (base - final) * (1 + math.cos(math.pi * done)) / 2
            if t < w:
                expected = base * t / (w - 1 if finals else w)
            assert scheduler.value_at(t, base) == pytest.approx(expected, rel=1e-12)


# Whole runs: 4 iterations an epoch.
LR = dict(type='orl_mm.WarmupCosineLR', warmup=1, by_epoch=True, convert_to_iter_based=True)
DECAY = dict(
    type='orl_mm.WarmupCosineParam',
    param_name='weight_decay',
    final=0.4,
    convert_to_iter_based=True,
)


class Heated(TinyModel):
    """Has the attributes that the hook sets, and notes them and the decay in each step."""

    def __init__(self):
        super().__init__()
        self.teacher_temp = None
        self.norm.strength = None
        self.seen, self.decays = [], []

    def train_step(self, data, optim_wrapper):
        self.seen.append((self.teacher_temp, self.norm.strength))
        self.decays.append(optim_wrapper.param_groups[0]['weight_decay'])
        return super().train_step(data, optim_wrapper)


SET = dict(
    type='orl_mm.ScheduleHook',
    schedules={
        'teacher_temp': dict(values=[0.08], warmup=3, warmup_start=0.04, inclusive=True),
        'norm.strength': dict(values=[0.0, 1.0], convert_to_iter_based=True),
    },
)
K = dict(type='orl_mm.KMeansRefineHook', schedule=dict(type='linear', values=[20, 8]))
FALL = dict(type='cosine', values=[8, 4])
EARLY = dict(values=[0, 1], end=2)
MOMENTUM = dict(type='orl_mm.MomentumUpdateHook', momentum=0.9)


def unfit(messages):
    return [m for m in messages if re.search('(this|the) run', m)]


def everything(work_dir, **kwargs):
    runner = tiny_runner(
        work_dir, Heated(), hooks=[SET, K, MOMENTUM], param_scheduler=[LR, DECAY], lr=4.0, **kwargs
    )
    messages = listen(runner)
    runner.train()
    return runner, messages


def test_a_run_by_epochs_or_iterations_and_resumed(tmp_path):
    scaled = dict(auto_scale_lr=dict(base_batch_size=1, enable=True))  # the batch is 2
    whole, messages = everything(tmp_path / 'whole', **scaled)
    model = whole.model
    assert [rates[0] for rates in model.rates] == pytest.approx(TABLE[:12], abs=1e-12)
    assert [t for t, _ in model.seen] == pytest.approx([0.04] * 4 + [0.06] * 4 + [0.08] * 4)
    assert [s for _, s in model.seen] == pytest.approx([t / 12 for t in range(12)])
    assert model.clusters == [16] * 4 + [12] * 4 + [8] * 4
    assert not unfit(messages)
    logged, _ = whole.message_hub.get_scalar('train/teacher_temp').data
    assert set(logged.tolist()) == {0.04, 0.06, 0.08}
    by_iter = everything(tmp_path / 'iters', iters=12, **scaled)[0].model
    for name in ('rates', 'decays', 'seen', 'clusters', 'momenta'):
        assert getattr(by_iter, name) == getattr(model, name), name

    everything(tmp_path / 'broken', stop_after=2, **scaled)
    rest, messages = everything(
        tmp_path / 'rest', resume=True, load_from=str(tmp_path / 'broken/epoch_2.pth'), **scaled
    )
    assert not any('planned as' in m for m in messages)
    for name in ('rates', 'decays', 'seen', 'clusters'):
        assert getattr(rest.model, name) == getattr(model, name)[8:], name
    assert torch.equal(rest.model.online.weight, model.online.weight)


def test_a_resumed_run_by_iterations(tmp_path):
    whole = everything(tmp_path, iters=7)[0].model
    rest, messages = everything(
        tmp_path / 'b', iters=7, resume=True, load_from=str(tmp_path / 'iter_3.pth')
    )
    assert not any('planned as' in m for m in messages)
    assert rest.model.rates == whole.rates[3:]


@pytest.mark.parametrize('loop', [dict(epochs=2), dict(iters=8), dict(iters=5)])
def test_every_schedule_follows_the_length_of_the_run(loop, tmp_path):
    runner, messages = everything(tmp_path, **loop)
    model, total = runner.model, loop.get('iters', 8)
    fall = [(1 + math.cos(math.pi * (t - 4) / (total - 4))) / 2 for t in range(4, total)]
    assert [rates[0] for rates in model.rates] == pytest.approx(
        [0.0, 1.0, 2.0, 3.0] + [4 * f for f in fall]
    )
    assert [s for _, s in model.seen] == pytest.approx([t / total for t in range(total)])
    assert model.decays[1] == 0.0  # base 0: no decay to schedule
    assert model.clusters == [14] * 4 + [8] * (total - 4)
    momenta = [1 - 0.1 * (1 + math.cos(math.pi * t / total)) / 2 for t in range(total)]
    assert [m for _, m in model.momenta] == pytest.approx(momenta)
    # Only the temperature's warm-up of 3 epochs does not fit.
    (warning,) = unfit(messages)
    assert 'warmup=3 of teacher_temp is longer' in warning


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(param_scheduler=dict(LR, end=2)), 'of lr ends at iteration 8, but the run has 12'),
        (dict(param_scheduler=dict(LR, end=300)), 'of lr ends at iteration 1200'),
        (
            dict(param_scheduler=dict(LR, warmup=10)),
            r'warm-up of lr \(40 iterations\) does not fit.*shortened to 1',
        ),
        (dict(hooks=[dict(K, schedule=dict(FALL, end=300))]), 'end=300 of K is not the end'),
        (dict(hooks=[dict(K, schedule=dict(FALL, epochs=[0, 300]))]), r'\[0, 300\], .* of K, go'),
        (
            dict(hooks=[dict(SET, schedules={'norm.momentum': dict(EARLY)})]),
            'end=2 of norm.momentum',
        ),
    ],
)
def test_what_does_not_fit_the_run_is_warned_of_once(change, message, tmp_path):
    runner = tiny_runner(tmp_path, **change)
    messages = listen(runner)
    runner.train()
    found = unfit(messages)
    assert len(found) == 1
    assert re.search(message, found[0])


def test_a_warmup_that_does_not_fit_takes_a_tenth_of_the_run(tmp_path):
    runner = tiny_runner(tmp_path, param_scheduler=dict(LR, warmup=10), epochs=5, lr=8.0)
    runner.train()
    rates = [rates[0] for rates in runner.model.rates]
    assert rates[:3] == pytest.approx([0.0, 4.0, 8.0])
    assert rates[11] == pytest.approx(4.0)  # half-way from 2 to 20


def test_a_changed_plan_is_logged_and_followed(tmp_path):
    plan = dict(type='orl_mm.WarmupCosineLR', warmup=4, end=12, by_epoch=False)
    tiny_runner(tmp_path / 'a', param_scheduler=plan, lr=8.0, epochs=1).train()
    longer = tiny_runner(
        tmp_path / 'b',
        param_scheduler=dict(plan, end=20),
        lr=8.0,
        epochs=2,
        load_from=str(tmp_path / 'a/epoch_1.pth'),
        resume=True,
    )
    messages = listen(longer)
    longer.train()
    assert sum("'end': 12" in m and "'end': 20" in m for m in messages) == 1
    expected = [4 + 4 * math.cos(math.pi * t / 16) for t in range(4)]
    assert [rates[0] for rates in longer.model.rates] == pytest.approx(expected)


def test_a_resumed_run_warns_of_a_shortened_warmup_too(tmp_path):
    short = dict(param_scheduler=dict(LR, warmup=10), lr=8.0)
    tiny_runner(tmp_path / 'a', stop_after=2, **short).train()
    rest = tiny_runner(
        tmp_path / 'b', load_from=str(tmp_path / 'a/epoch_2.pth'), resume=True, **short
    )
    messages = listen(rest)
    rest.train()
    assert sum('warm-up of lr (40 iterations) does not fit' in m for m in messages) == 1


def test_attributes_of_one_name_are_logged_by_their_paths(tmp_path):
    hook = dict(SET, schedules={'norm.momentum': 0.5, 'norm.eps': 1e-3, 'momentum': 0.7})
    model = Heated()
    model.momentum = None
    runner = tiny_runner(tmp_path, model, hooks=[hook], epochs=1)
    runner.train()
    scalars = runner.message_hub.log_scalars
    assert scalars['train/norm.momentum'].current() == 0.5
    assert scalars['train/momentum'].current() == 0.7
    assert 'train/eps' in scalars


def test_hook_needs_the_attribute(tmp_path):
    with pytest.raises(AttributeError, match="no attribute 'teacher_temp'"):
        tiny_runner(tmp_path, hooks=[SET]).train()
