"""A run that produces NaN stops before a checkpoint of it is written."""

import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook

from orl_mm.engine.hooks import NaNGuardHook
from orl_mm.errors import DivergedError
from tests.ranks import run_ranks
from tests.test_engine.tiny import TinyModel, tiny_runner

DURABLE = 'orl_mm.DurableCheckpointHook'


class Poison(Hook):
    """Change the network before the forward pass of some steps, or after that of the last one."""

    def __init__(self, change, steps, when='before'):
        self.change, self.steps, self.when = change, steps, when

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.when == 'before' and runner.iter + 1 in self.steps:
            self.change(runner.model)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.when == 'after' and runner.iter + 1 in self.steps:
            self.change(runner.model)


class Scaled(TinyModel):
    """A loss that overflows in some steps, in which a loss scaler leaves the network as it is."""

    def __init__(self, steps):
        super().__init__()
        self.register_buffer('mask', torch.tensor([0.0, -math.inf]))
        self.infinite = steps

    def train_step(self, data, optim_wrapper):
        losses = super().train_step(data, optim_wrapper)
        return dict(loss=losses['loss'] / (self.steps not in self.infinite))


def weight(model):
    model.online.weight.data[0, 0] = math.nan


def statistic(model):
    model.norm.running_var[0] = math.inf


def run(folder, model=None, interval=50, scaler=False, hooks=(), save=DURABLE, **options):
    guard = NaNGuardHook()
    hooks = [guard, *hooks]
    runner = tiny_runner(folder, model, lr=0.1, checkpoint=dict(type=save), hooks=hooks, **options)
    for hook in runner.hooks:
        if type(hook).__name__ == 'LoggerHook':
            hook.interval = interval
    if scaler:
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.optim_wrapper.loss_scaler = SimpleNamespace(is_enabled=lambda: True)
    try:
        runner.train()
    except Exception as error:
        guard.explain(runner, error)
        raise


@pytest.mark.parametrize(
    ('poison', 'interval', 'message'),
    [
        (Poison(weight, {6}), 1, r'step 6: the loss loss is nan\..*epoch_1\.pth;'),
        (Poison(weight, {6}), 50, r'step 6: the loss loss is nan\..*epoch_1\.pth;'),
        (
            Poison(weight, {2}),
            50,
            r'step 2: the loss loss is nan\..*No checkpoint was saved before;',
        ),
        (Poison(weight, {8}, 'after'), 50, r'step 8: online\.weight of the network'),
        (Poison(statistic, {8}, 'after'), 1, r'step 8: norm\.running_var of the network'),
    ],
)
def test_the_step_and_the_last_good_checkpoint_are_named(poison, interval, message, tmp_path):
    with pytest.raises(DivergedError, match=message):
        run(tmp_path, interval=interval, hooks=[poison])
    good = [] if 'No checkpoint' in message else ['epoch_1.pth']
    assert [path.name for path in tmp_path.glob('*.pth')] == good


def test_nothing_is_saved_by_another_checkpoint_hook(tmp_path):
    with pytest.raises(DivergedError, match=r'step 8.*epoch_1\.pth'):
        run(tmp_path, hooks=[Poison(weight, {8}, 'after')], save='CheckpointHook')
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']


@pytest.mark.parametrize('steps', [{2, 3}, {*range(3, 22), *range(23, 28)}])
def test_steps_that_a_loss_scaler_skips_do_not_end_the_run(steps, tmp_path):
    run(tmp_path, Scaled(steps), scaler=True, epochs=7)
    assert len(list(tmp_path.glob('*.pth'))) == 7
    with pytest.raises(DivergedError, match='step 2: the loss loss is inf'):
        run(tmp_path / 'fp32', Scaled({2}), epochs=1)


def test_a_scaler_that_skips_every_step_ends_the_run(tmp_path):
    with pytest.raises(DivergedError, match='step 24: the loss loss is inf'):
        run(tmp_path, Scaled(range(5, 100)), scaler=True, epochs=10)


class Picture(Hook):
    """Fails on NaN, as a picture does."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if outputs['loss'].isnan():
            raise ValueError('heat must be finite')


def test_an_error_that_nan_led_to_is_explained(tmp_path):
    with pytest.raises(DivergedError, match='step 3: the loss loss is nan'):
        run(tmp_path, hooks=[Poison(weight, {3}), Picture()])
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, hooks=[Poison(lambda model: 1 / 0, {3})])


def test_the_host_reads_losses_once_an_interval(tmp_path, monkeypatch):
    looked = []
    diverged = NaNGuardHook._diverged

    def count(self, runner, weights):
        looked.append((self._step, weights))
        return diverged(self, runner, weights)

    monkeypatch.setattr(NaNGuardHook, '_diverged', count)
    run(tmp_path, interval=3, iters=8)
    # Every save is looked at; with by_epoch=False there is one in each step.
    assert [step for step, weights in looked if not weights] == [3, 6, 8]
    assert [step for step, weights in looked if weights] == list(range(1, 9))


def _look(rank, world):
    guard = NaNGuardHook()
    runner = SimpleNamespace(
        hooks=[], optim_wrapper=None, model=torch.nn.Linear(1, 1), iter=4, _resume=False
    )
    guard.before_train(runner)
    guard.after_train_iter(runner, 0, outputs=dict(loss=torch.tensor([1.0, math.nan][rank])))
    try:
        guard.check(runner)
    except DivergedError as error:
        return str(error)
    return ''


def test_all_ranks_stop_when_one_has_nan():
    first, second = run_ranks(_look)
    assert first == second
    assert 'step 5: the loss loss is nan' in first
