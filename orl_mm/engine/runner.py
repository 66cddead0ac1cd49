"""mmengine's runner, for training that keeps a GPU busy."""

from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from torch import nn

from orl_mm.progress import unwrapped_model

from .message_hub import DeferredMessageHub


class TrainRunner(Runner):
    """What ``tools/train.py`` builds from a config without ``runner_type``.

    Scalars of the device are read when they are logged (:class:`DeferredMessageHub`). Two
    top-level keys of the config choose how networks run:

    - ``channels_last=True``: weights of convolutions, hence their outputs, are in channels-last
      layout, which GPUs and CPUs with bfloat16 multiply faster.
    - ``compile=True``, or a dict of arguments of ``torch.compile``: the ``backbone`` of the model
      and those of its target or teacher are compiled. mmengine would compile the whole step.
    """

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Before wrappers for several processes, which rely on the layout."""
        built: Any = super().build_model(model)
        if self.cfg.get('channels_last'):
            built.to(memory_format=torch.channels_last)
        return built

    def build_message_hub(self, message_hub: dict | None = None) -> MessageHub:
        """Build mmengine's hub, which then defers reading."""
        return DeferredMessageHub.take_over(super().build_message_hub(message_hub))

    def _maybe_compile(self, target: str) -> None:
        options: Any = self.cfg.get('compile')
        if not options:
            return
        for name, module in unwrapped_model(self).named_modules():
            if name.split('.')[-1] == 'backbone':
                module.compile(**(options if isinstance(options, dict) else {}))
