"""A target network that follows the online one: what R2O, DetCon and PixPro take from BYOL."""

from copy import deepcopy
from typing import Optional, Sequence

import torch
from mmpretrain.models import BaseSelfSupervisor
from torch import nn


class MomentumTarget(BaseSelfSupervisor):
    """An algorithm with a moving average of parts of its online network.

    A subclass calls :meth:`make_target` at the end of its ``__init__``;
    ``MomentumUpdateHook`` calls :meth:`update_target` after the optimiser step. The
    target stays in training mode: its batch norms use and track its own statistics.

    Attributes:
        target (nn.ModuleDict, optional): Copies of parts, by their names; None without target.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.target: Optional[nn.ModuleDict] = None

    def make_target(self, parts: Sequence[str] = ('backbone', 'neck')) -> None:
        """Copy parts of the online network; the copies are never trained.

        A checkpoint of an online network alone starts the target as its copy.
        """
        self.target = nn.ModuleDict({name: deepcopy(getattr(self, name)) for name in parts})
        self.target.requires_grad_(False)
        self.register_load_state_dict_post_hook(_copy_when_target_is_missing)

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """xi <- m xi + (1 - m) theta, parameters only: buffers are the target's own."""
        online = [p for name in self.target for p in getattr(self, name).parameters()]
        torch._foreach_lerp_(list(self.target.parameters()), online, 1. - momentum)

    def init_weights(self) -> None:
        """Initialise the online network; the target starts as its copy."""
        super().init_weights()
        self.copy_online_to_target()

    def copy_online_to_target(self) -> None:
        """Parameters and buffers of the online network into the target."""
        for name in self.target or ():
            self.target[name].load_state_dict(getattr(self, name).state_dict())


def _copy_when_target_is_missing(model: MomentumTarget, incompatible) -> None:
    # Old batch norms lack num_batches_tracked, which loading fills in silently.
    target = {f'target.{key}' for key in model.target.state_dict() if 'tracked' not in key}
    if target <= set(incompatible.missing_keys):
        model.copy_online_to_target()
