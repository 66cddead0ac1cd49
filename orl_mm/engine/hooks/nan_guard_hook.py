"""Stop a run that trains on NaN, before a checkpoint of it is written."""

from itertools import chain
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.runner import Runner

from orl_mm.errors import DivergedError
from orl_mm.progress import unwrapped_model
from orl_mm.registry import HOOKS

PATIENCE = 20  # steps in a row that a loss scaler may skip


@HOOKS.register_module()
class NaNGuardHook(Hook):
    """End training when a loss, a parameter or a statistic becomes NaN or infinite.

    Losses are kept on the device and looked at where the logger reads them anyway (its
    ``interval``), at the end of an epoch and before each checkpoint and validation, so that the
    host waits in no other step. Before a checkpoint, parameters and buffers are looked at, too;
    buffers that are infinite from the start, such as masks, may be. All ranks stop together.
    Works with any model whose ``train_step`` returns losses, as mmengine's does. ``tools/train.py``
    registers it.

    With a loss scaler (AMP in fp16), which skips a step that overflows, a loss may be infinite
    in up to 19 steps in a row as long as the parameters stay finite.

    Raises:
        DivergedError: With the step, the loss and the last good checkpoint.
    """

    priority = 'VERY_HIGH'  # before pictures, metrics and checkpoints

    def __init__(self) -> None:
        self._losses: list[tuple[int, dict[str, Any]]] = []
        self._started = self._raised = False
        self._streak, self._step, self._checked = 0, 0, -1
        self._last: str | None = None  # the last good checkpoint

    def before_train(self, runner: Runner) -> None:
        """Take over the logger's interval and note which buffers are infinite."""
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self._interval = max(1, min((hook.interval for hook in loggers), default=50))
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        self._patience = PATIENCE if scaler is not None and scaler.is_enabled() else 1
        buffers = unwrapped_model(runner).named_buffers()
        self._infinite = set(_not_finite(dict(buffers)))
        self._started, self._streak, self._losses = True, 0, []
        self._step, self._checked = runner.iter, -1
        self._last = runner._load_from if runner._resume else None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Note what was saved, after the save is over."""
        saved = [hook.last_ckpt for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        self._last = next(filter(None, saved), self._last)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Keep the losses of the step."""
        losses = {
            name: torch.as_tensor(value).detach()
            for name, value in (outputs or {}).items()
            if 'loss' in name  # what mmengine sums up
        }
        self._step = runner.iter + 1
        self._losses.append((self._step, losses))
        if self.every_n_inner_iters(batch_idx, self._interval):
            self.check(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Look at the losses since the last look."""
        self.check(runner)

    def before_val(self, runner: Runner) -> None:
        """Look before an evaluation within training."""
        if self._started:
            self.check(runner, weights=True)

    def before_checkpoint(self, runner: Runner) -> None:
        """Look before :class:`DurableCheckpointHook` saves, on every rank."""
        self.check(runner, weights=True)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look on rank 0 before another hook saves."""
        if self._started and self._checked != self._step:
            self._stop(runner, self._diverged(runner, weights=True))

    def check(self, runner: Runner, weights: bool = False) -> None:
        """Look at the losses since the last look, on every rank.

        Args:
            runner (Runner): In training.
            weights (bool): Look at parameters and buffers, too.
        """
        found = all_gather_object(self._diverged(runner, weights))
        self._stop(runner, next(filter(None, found), ''))
        self._checked = self._step if weights else self._checked

    def explain(self, runner: Runner, error: Exception) -> None:
        """Raise DivergedError in place of an error of the step that NaN has led to."""
        if self._started and not self._raised:
            own = str(error) if isinstance(error, DivergedError) else ''
            self._stop(runner, self._diverged(runner, weights=True) or own)

    def _diverged(self, runner: Runner, weights: bool) -> str:
        """What is not finite on this rank, in words."""
        rows = [(step, name, value) for step, kept in self._losses for name, value in kept.items()]
        self._losses = []
        if rows:
            device = rows[0][2].device
            scalars = [value.to(device, torch.float32).sum() for *_, value in rows]
            bad: dict[int, str] = {}
            for (step, name, _), value in zip(rows, torch.stack(scalars).tolist(), strict=True):
                if value - value != 0:  # NaN or infinite
                    bad.setdefault(step, f'{name} is {value}')
            for step in dict.fromkeys(step for step, *_ in rows):
                self._streak = self._streak + 1 if step in bad else 0
                if self._streak >= self._patience:
                    return f'step {step}: the loss {bad[step]}'
        if weights:
            model = unwrapped_model(runner)
            named = dict(chain(model.named_parameters(), model.named_buffers()))
            wrong = [name for name in _not_finite(named) if name not in self._infinite]
            if wrong:
                more = f' and {len(wrong) - 1} other tensors' if wrong[1:] else ''
                return f'step {self._step}: {wrong[0]}{more} of the network became NaN or infinite'
        return ''

    def _stop(self, runner: Runner, problem: str) -> None:
        if not problem:
            return
        self._raised = True
        good = (
            f'The last good checkpoint is {self._last}'
            if self._last
            else 'No checkpoint was saved before'
        )
        raise DivergedError(
            f'{problem}. Training has diverged and nothing of it was saved. {good}; continue with '
            'a lower learning rate, or in bf16 or fp32 instead of fp16'
        )


def _not_finite(tensors: dict[str, torch.Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity; one wait for all of them."""
    flags = [tensor.isfinite().all() for tensor in tensors.values()]
    if not flags:
        return []
    return [
        name
        for name, finite in zip(tensors, torch.stack(flags).tolist(), strict=True)
        if not finite
    ]
