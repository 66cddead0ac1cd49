"""What DINO does to gradients just before each step: clip each one, hold the prototypes.

Source: ``utils.py`` of github.com/facebookresearch/dino.
"""

from abc import abstractmethod

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.hooks import RemovableHandle

from orl_mm.progress import epoch_at, iteration, unwrapped_model
from orl_mm.registry import HOOKS


class OptimizerStepHook(Hook):
    """Base of hooks that change gradients just before the optimizer's step.

    mmengine's hooks run before the forward pass or after the step. :meth:`before_step` runs when
    gradients have been accumulated, averaged over processes and unscaled; it does not run for
    steps that a loss scaler skips.

    Raises:
        ValueError: At the start of training, a fused optimizer under a loss scaler, which
            unscales gradients within its step.
    """

    priority = 'NORMAL'
    _handle: RemovableHandle | None = None

    @abstractmethod
    def before_step(self, optimizer: torch.optim.Optimizer, *_) -> None:
        """Change the gradients of the optimizer's parameters."""

    def before_train(self, runner: Runner) -> None:
        """Register with the optimizer."""
        self.after_train(runner)
        optimizer = runner.optim_wrapper.optimizer
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        enabled = scaler is not None and getattr(scaler, 'is_enabled', lambda: False)()
        if enabled and getattr(optimizer, '_step_supports_amp_scaling', False):
            raise ValueError(
                f'{type(optimizer).__name__}(fused=True) unscales gradients within its step, too '
                'late for hooks that change them: remove fused=True, or train in bfloat16 with '
                "AmpOptimWrapper(dtype='bfloat16', use_fsdp=False) or in fp32"
            )
        self._handle = optimizer.register_step_pre_hook(self.before_step)

    def after_train(self, runner: Runner) -> None:
        """Leave the optimizer as it was."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None


@HOOKS.register_module()
class ClipEachGradHook(OptimizerStepHook):
    """Scale each parameter's gradient to a norm of at most ``max_norm``, before each step.

    mmengine's ``clip_grad`` takes the norm of all parameters together; DINO (``clip_gradients``)
    clips each one separately. The device is not synchronized.

    Args:
        max_norm (float): 3 in DINO.

    Raises:
        ValueError: ``max_norm`` is not positive.
    """

    def __init__(self, max_norm: float = 3.0) -> None:
        if max_norm <= 0:
            raise ValueError(
                f'max_norm must be positive, got {max_norm}; remove ClipEachGradHook from '
                'custom_hooks to train without clipping'
            )
        self.max_norm = max_norm

    @torch.no_grad()
    def before_step(self, optimizer: torch.optim.Optimizer, *_) -> None:
        """Clip."""
        params = [p for group in optimizer.param_groups for p in group['params']]
        grads = [p.grad for p in params if p.grad is not None]
        if grads:
            norms = torch.stack(torch._foreach_norm(grads))
            scales = (self.max_norm / (norms + 1e-6)).clamp(max=1.0)
            torch._foreach_mul_(grads, list(scales.unbind()))


@HOOKS.register_module()
class FreezeLastLayerHook(OptimizerStepHook):
    """Drop the gradients of a layer in the first epochs (DINO, ``cancel_gradients_last_layer``).

    The parameters keep ``requires_grad``, so that DDP's buckets do not change. They have no
    gradient rather than a zero one, so that AdamW neither decays them nor counts a step.

    Args:
        epochs (int): Number of epochs. 0: none.
        name (str): Part of the parameters' names; by default ``DINOHead``'s prototypes.

    Raises:
        ValueError: A negative number of epochs; at the start of training, no trainable
            parameter has the name.
    """

    def __init__(self, epochs: int = 1, name: str = 'last_layer') -> None:
        if epochs < 0:
            raise ValueError(f'epochs must not be negative, got {epochs}')
        self.epochs, self.name, self._frozen = epochs, name, False

    def before_train(self, runner: Runner) -> None:
        """Find the layer."""
        model = unwrapped_model(runner)
        self._params = [
            p for name, p in model.named_parameters() if self.name in name and p.requires_grad
        ]
        if not self._params:
            raise ValueError(
                f'no trainable parameter of {type(model).__name__} has {self.name!r} in its name: '
                'correct name=, or remove FreezeLastLayerHook from custom_hooks'
            )
        super().before_train(runner)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        """Whether the layer is frozen in this epoch."""
        self._frozen = epoch_at(runner, iteration(runner, batch_idx)) < self.epochs

    def before_step(self, optimizer: torch.optim.Optimizer, *_) -> None:
        """Drop the layer's gradients."""
        if self._frozen:
            for param in self._params:
                param.grad = None
