"""The moving average of a network: BYOL's target, DINO's teacher."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial

import torch
from torch import nn


class MomentumNetwork(nn.ModuleDict):
    r"""Copies of parts of a model that follow them and are never trained.

    .. math:: \xi \leftarrow m \xi + (1 - m) \theta

    for parameters :math:`\xi` of the copies and :math:`\theta` of the model; buffers are not
    averaged. The copies stay in training mode: their batch norms use and track the statistics
    of what they see themselves. A checkpoint without them (of the online network only) starts
    them as copies of what it loads.

    Args:
        model (nn.Module): The model that is followed, and keeps this as an attribute.
        parts (sequence): Names of the model's attributes to copy.
        name (str): Name of the attribute that keeps this, such as ``'target'``.
    """

    def __init__(self, model: nn.Module, parts: Sequence[str], name: str) -> None:
        super().__init__({part: deepcopy(getattr(model, part)) for part in parts})
        self.requires_grad_(False)
        model.register_load_state_dict_post_hook(partial(_copy_if_missing, name=name))

    @torch.no_grad()
    def follow(self, model: nn.Module, momentum: float) -> None:
        """Move towards the parameters of ``model``; ``momentum`` is the share that stays."""
        online = [p for part in self for p in getattr(model, part).parameters()]
        torch._foreach_lerp_(list(self.parameters()), online, 1.0 - momentum)

    def copy_from(self, model: nn.Module) -> None:
        """Take over the parameters and buffers of ``model``."""
        for part, copy in self.items():
            copy.load_state_dict(getattr(model, part).state_dict())


def _copy_if_missing(model: nn.Module, incompatible, name: str) -> None:
    network = getattr(model, name)
    # Batch norms of old checkpoints have no num_batches_tracked; torch fills it in.
    keys = {f'{name}.{key}' for key in network.state_dict() if 'tracked' not in key}
    if keys <= set(incompatible.missing_keys):
        network.copy_from(model)
