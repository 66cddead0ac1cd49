"""Time of the parts of a training step, without stopping the device."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class StepTimer:
    """Brackets parts of a step; a reading, and any wait for it, happens when asked.

    On CUDA the brackets are events in the stream, elsewhere the host's clock.
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
        return {name: lambda span=span: self._seconds(*span) for name, span in self._spans.items()}

    @staticmethod
    def _seconds(start, stop) -> float:
        if isinstance(start, float):
            return stop - start
        stop.synchronize()
        return start.elapsed_time(stop) / 1000.0
