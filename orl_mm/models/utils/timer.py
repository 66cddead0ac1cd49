"""Time of the parts of a training step, measured without synchronising the device."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch


class StepTimer:
    """Measures parts of a step: events in the stream on CUDA, else the host's clock.

    Synchronizes with the device only when it is read.
    """

    def __init__(self) -> None:
        self._spans: dict[str, tuple] = {}

    @contextmanager
    def __call__(self, name: str, device: torch.device) -> Iterator[None]:
        mark = self._event if torch.device(device).type == 'cuda' else time.perf_counter
        start = mark()
        yield
        self._spans[name] = (start, mark())

    @staticmethod
    def _event() -> 'torch.cuda.Event':
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def readings(self) -> dict[str, Callable[[], float]]:
        """Seconds of each part of the last step, as functions that may wait for the device."""
        return {name: partial(self._seconds, *span) for name, span in self._spans.items()}

    @staticmethod
    def _seconds(start, stop) -> float:
        if isinstance(start, float):
            return stop - start
        stop.synchronize()
        return start.elapsed_time(stop) / 1000.0
