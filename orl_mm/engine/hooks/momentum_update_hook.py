"""Update the target (teacher) network as a moving average of the online (student) network."""

import math
from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from orl_mm.progress import iteration, unwrapped_model
from orl_mm.registry import HOOKS
from orl_mm.schedules import Schedule


@HOOKS.register_module()
class MomentumUpdateHook(Hook):
    r"""Update the target once per optimizer step, with a momentum that rises during training.

    Optimizer step t (from 0) of T uses (BYOL, section 3.2)

    .. math:: m_t = m_{end} - (m_{end} - m_0) (\cos(\pi t / T) + 1) / 2

    and is followed by ``model.update_target(m)``: xi <- m xi + (1 - m) theta. Any model with
    that method can be used. A model with ``target_update='before_target_forward'`` (row 6 of
    projects/r2o/README.md) updates its target itself, within the step; the hook then sets
    ``model.pending_momentum`` before the first iteration of each optimizer step.

    A step that a loss scaler skips (AMP in fp16, after an overflow) does not move the target;
    fifty skipped steps in a row are logged as a warning.

    Args:
        momentum (float): m of the first step, the share of the target that stays.
        end_momentum (float): m at the end.
        interval (int): Iterations between two values of ``momentum`` in the log.

    Raises:
        TypeError: The model has no ``update_target``.
        ValueError: A momentum outside [0, 1], or a model without target network.
    """

    priority = 'NORMAL'

    def __init__(
        self, momentum: float = 0.99, end_momentum: float = 1.0, interval: int = 10
    ) -> None:
        for name, value in (('momentum', momentum), ('end_momentum', end_momentum)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(
                    f'{name} must lie in [0, 1], got {value}; it is the share of '
                    'the target that stays, 1 minus that of mmpretrain'
                )
        self.schedule = Schedule([momentum, end_momentum], 'cosine')
        self.interval = interval
        self._stepped = self._watched = False
        self._skipped = 0

    def before_train(self, runner: Runner) -> None:
        """Check that the model has a target to update."""
        model = unwrapped_model(runner)
        if not hasattr(model, 'update_target'):
            raise TypeError(
                f'{type(model).__name__} has no update_target(momentum): remove '
                'MomentumUpdateHook, or use a model with a target network'
            )
        if getattr(model, 'target', True) is None:
            raise ValueError(
                f'{type(model).__name__} was built without a target network: remove '
                'MomentumUpdateHook from custom_hooks'
            )
        optimizer: Any = getattr(runner.optim_wrapper, 'optimizer', None)
        self._watched = hasattr(optimizer, 'register_step_post_hook')
        if self._watched:
            optimizer.register_step_post_hook(self._note_step)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        """Pass m to a model that updates its target within the step."""
        model = unwrapped_model(runner)
        counts = _accumulation(runner)
        started = getattr(runner.optim_wrapper, 'inner_count', 0) % counts == 0
        if _within_step(model) and started:
            model.pending_momentum = self._current(runner, batch_idx)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | Sequence | None = None,
    ) -> None:
        """Update the target if this iteration ended an optimizer step."""
        model = unwrapped_model(runner)
        # After a training step: whether this iteration has updated the parameters.
        updated = getattr(runner.optim_wrapper, 'should_update', lambda: True)()
        stepped = self._stepped or not self._watched
        self._stepped = False
        if updated:
            self._count_skipped(runner, stepped)
        if updated and stepped and not _within_step(model):
            model.update_target(self._current(runner, batch_idx))
        if batch_idx == 0 or self.every_n_inner_iters(batch_idx, self.interval):
            runner.message_hub.update_scalar('train/momentum', self._current(runner, batch_idx))

    def _note_step(self, *_) -> None:
        self._stepped = True

    def _count_skipped(self, runner: Runner, stepped: bool) -> None:
        self._skipped = 0 if stepped else self._skipped + 1
        if self._skipped and self._skipped % 50 == 0:
            runner.logger.warning(
                f'The loss scaler skipped {self._skipped} optimizer steps in a row: gradients '
                'overflow, and nothing is learned. Train in bfloat16 (optim_wrapper.dtype='
                '"bfloat16") or in fp32, or resume from before they began.'
            )

    def _current(self, runner: Runner, batch_idx: int) -> float:
        counts = _accumulation(runner)
        step = iteration(runner, batch_idx) // counts
        return self.schedule(step, math.ceil(runner.max_iters / counts))


def _accumulation(runner: Runner) -> int:
    return getattr(runner.optim_wrapper, '_accumulative_counts', 1)


def _within_step(model: Any) -> bool:
    return getattr(model, 'target_update', 'after_step') == 'before_target_forward'
