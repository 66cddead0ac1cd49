"""A place between the backward pass and the optimiser's step."""

from collections.abc import Callable

from mmengine.runner import Runner
from torch.utils.hooks import RemovableHandle


def before_optimizer_step(runner: Runner, function: Callable) -> RemovableHandle:
    """Call ``function(optimizer, args, kwargs)`` just before each step of the optimiser.

    mmengine's hooks run before the forward pass or after the step. Here gradients are
    accumulated, averaged over processes and unscaled; steps that the loss scaler skips
    do not come by.

    Raises:
        ValueError: A fused optimiser under a loss scaler, which unscales within the step.
    """
    optimizer = runner.optim_wrapper.optimizer
    scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
    enabled = scaler is not None and getattr(scaler, 'is_enabled', lambda: False)()
    if enabled and getattr(optimizer, '_step_supports_amp_scaling', False):
        raise ValueError(
            f'{type(optimizer).__name__}(fused=True) unscales gradients within its '
            'step, too late to clip them: drop fused=True, or train in bfloat16 '
            "with AmpOptimWrapper(dtype='bfloat16', use_fsdp=False) or in fp32"
        )
    return optimizer.register_step_pre_hook(function)
