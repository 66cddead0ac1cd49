"""Clip the gradient of each parameter on its own."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from orl_mm.engine.step_hook import before_optimizer_step
from orl_mm.registry import HOOKS


@HOOKS.register_module()
class ClipEachGradHook(Hook):
    """Scale each parameter's gradient to a norm of at most ``max_norm``, before each step.

    mmengine's ``clip_grad`` takes the norm of all parameters together; DINO clips each
    one. With a loss scaler it sees unscaled gradients. No value leaves the device.

    Args:
        max_norm (float): 3 in DINO.

    Raises:
        ValueError: ``max_norm`` is not positive.

    Source: ``utils.py``, ``clip_gradients``, of facebookresearch/dino.
    """

    priority = 'NORMAL'

    def __init__(self, max_norm: float = 3.0) -> None:
        if max_norm <= 0:
            raise ValueError(
                f'max_norm must be positive, got {max_norm}; to clip nothing, take '
                'ClipEachGradHook out of custom_hooks'
            )
        self.max_norm = max_norm
        self._handle = None

    def before_train(self, runner: Runner) -> None:
        """Take hold of the optimiser."""
        self.after_train(runner)
        self._handle = before_optimizer_step(runner, self._clip)

    def after_train(self, runner: Runner) -> None:
        """Let go of it."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    @torch.no_grad()
    def _clip(self, optimizer: torch.optim.Optimizer, *_) -> None:
        grads = [
            p.grad
            for group in optimizer.param_groups
            for p in group['params']
            if p.grad is not None
        ]
        if grads:
            norms = torch.stack(torch._foreach_norm(grads))
            scales = (self.max_norm / (norms + 1e-6)).clamp(max=1.0)
            torch._foreach_mul_(grads, list(scales.unbind()))
