"""Losses for the log, read from the device when somebody asks for them."""

from collections import OrderedDict

import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import Tensor


class DeferredMessageHub(MessageHub):
    """mmengine's message hub that keeps scalars of a device until they are read.

    mmengine's reads each loss in every iteration, for which the host waits until the device has
    finished the step. Here all those since the last log line are read with that line, in one
    copy. What readers see is the same.

    An existing hub is turned into one by :meth:`take_over`, because a runner and its parts find
    it under mmengine's class.
    """

    _waiting: list[tuple[str, Tensor, int, bool]]

    @classmethod
    def take_over(cls, hub: MessageHub) -> MessageHub:
        """Let an existing hub behave as this class; returns it."""
        if not isinstance(hub, cls):
            hub.__class__, hub._waiting = cls, []
        return hub

    def update_scalar(self, key: str, value, count: int = 1, resumed: bool = True) -> None:
        """As mmengine's; tensors of a device are kept."""
        if isinstance(value, Tensor) and value.numel() == 1 and value.device.type != 'cpu':
            self._waiting.append((key, value.detach(), count, resumed))
            return
        self._read(key)
        super().update_scalar(key, value, count, resumed)

    def get_scalar(self, key: str) -> HistoryBuffer:
        """As mmengine's."""
        self._read(key)
        if key not in self._log_scalars:
            raise KeyError(f'{key} is not found in MessageHub.log_scalars')
        return self._log_scalars[key]

    @property
    def log_scalars(self) -> OrderedDict:
        """All scalars, up to date."""
        self._read()
        return self._log_scalars

    def state_dict(self) -> dict:
        """As mmengine's."""
        self._read()
        return super().state_dict()

    def _read(self, key: str | None = None) -> None:
        """Read all kept scalars, if ``key`` (None: any) is among them."""
        if not self._waiting or (key is not None and all(key != w[0] for w in self._waiting)):
            return
        waiting, self._waiting = self._waiting, []
        values = torch.stack([value.double().flatten() for _, value, *_ in waiting]).flatten()
        for (name, _, count, resumed), value in zip(waiting, values.tolist(), strict=True):
            super().update_scalar(name, value, count, resumed)
