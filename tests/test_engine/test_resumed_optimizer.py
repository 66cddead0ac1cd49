"""Settings of the optimizer that changed between a run and its resumption."""

import pytest

from orl_mm.engine.cli import SetupHook
from orl_mm.errors import UserError
from tests.test_engine.tiny import listen, tiny_runner

CLOSED = dict(type='orl_mm.WarmupCosineLR', convert_to_iter_based=True)
STOCK = dict(type='CosineAnnealingLR', T_max=12, by_epoch=False)


def wrapper(**settings):
    return dict(type='OptimWrapper', optimizer=dict(type='SGD', momentum=0.9, **settings))


def resumed(folder, scheduler=None, options=None, **settings):
    """The groups, and what is logged, of a run that resumes with other settings."""
    plan = dict(param_scheduler=scheduler, epochs=3)
    first = tiny_runner(folder / 'a', stop_after=1, **plan)
    first.optim_wrapper = wrapper(lr=0.1, weight_decay=0.05)
    first.train()
    file = str(folder / 'a' / 'epoch_1.pth')
    runner = tiny_runner(folder / 'b', resume=True, load_from=file, hooks=[SetupHook()], **plan)
    runner.optim_wrapper = dict(wrapper(**settings), **(options or {}))
    messages = listen(runner)
    runner.train()
    return runner.optim_wrapper.param_groups, ' '.join(messages)


@pytest.mark.parametrize('scheduler', [None, CLOSED, STOCK])
def test_another_weight_decay_is_taken(scheduler, tmp_path):
    groups, messages = resumed(tmp_path, scheduler, lr=0.1, weight_decay=0.5)
    assert [group['weight_decay'] for group in groups] == [0.5]
    assert 'weight_decay=0.5 replaces 0.05' in messages


@pytest.mark.parametrize(
    ('scheduler', 'said'),
    [
        (None, 'lr=0.02 replaces 0.1'),
        (CLOSED, 'lr was planned as'),
        (STOCK, "lr=0.02 is not used: the checkpoint's schedule continues from 0.1"),
    ],
)
def test_another_rate_is_taken_or_reported(scheduler, said, tmp_path):
    assert said in resumed(tmp_path, scheduler, lr=0.02, weight_decay=0.05)[1]


def test_equal_settings_are_not_reported(tmp_path):
    assert 'Resumed optimizer' not in resumed(tmp_path, CLOSED, lr=0.1, weight_decay=0.05)[1]


def test_other_parameter_groups_are_counted(tmp_path):
    several = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
    with pytest.raises(UserError, match=r'4 groups of 4 parameters, .*epoch_1.pth 1 groups of 6'):
        resumed(tmp_path, options=several, lr=0.1, weight_decay=0.05)
