"""The moving averages of mmpretrain's BYOL and MoCo without waiting for the device."""

from math import cos, pi

import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseAveragedModel, ExponentialMovingAverage
from mmpretrain.models.utils import CosineEMA
from torch import Tensor, nn


class _HostCounted(BaseAveragedModel):
    """Counts updates on the host and updates all parameters at once.

    mmengine's class reads the counter from the device in each update, and ``CosineEMA`` again for
    each parameter. Values and state dict are the same.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._done = 0
        self.register_load_state_dict_post_hook(
            lambda module, _: setattr(module, '_done', int(module.steps))
        )

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move towards the parameters of ``model`` and take over its buffers."""
        average: list[Tensor] = list(self.module.parameters())
        source: list[Tensor] = list(model.parameters())
        if self._done == 0:
            torch._foreach_copy_(average, source)
        elif self._done % self.interval == 0:
            self._move(average, source)
        pairs = list(zip(self.module.buffers(), model.buffers(), strict=True))
        for kind in {buffer.dtype for buffer, _ in pairs}:  # one operator for each
            mine, theirs = zip(*(p for p in pairs if p[0].dtype == kind), strict=True)
            torch._foreach_copy_(mine, theirs)
        self._done += 1
        self.steps += 1

    def _move(self, average: list[Tensor], source: list[Tensor]) -> None:
        raise NotImplementedError


class HostCountedEMA(_HostCounted, ExponentialMovingAverage):
    """mmengine's ``ExponentialMovingAverage``."""

    def _move(self, average: list[Tensor], source: list[Tensor]) -> None:
        torch._foreach_lerp_(average, source, self.momentum)


class HostCountedCosineEMA(_HostCounted, CosineEMA):
    """mmpretrain's ``CosineEMA``."""

    def _move(self, average: list[Tensor], source: list[Tensor]) -> None:
        end = MessageHub.get_current_instance().get_info('max_iters')
        steps = torch.tensor(self._done)  # rounds as the counter on the device does
        share = (cos(pi * steps / float(end)) + 1) / 2
        momentum = self.end_momentum - (self.end_momentum - self.momentum) * share
        torch._foreach_mul_(average, 1 - momentum)
        torch._foreach_add_(average, source, alpha=momentum)
