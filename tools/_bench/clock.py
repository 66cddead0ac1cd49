"""Time of alternatives, measured in turns so that a slow minute hits all of them alike."""

import statistics
import time
from collections.abc import Callable

import torch

CLOCKS = dict(wall=time.perf_counter, process=time.process_time)
_now = time.perf_counter


def use_clock(name: str) -> None:
    """``'wall'``, or ``'process'``: processor time of this process, all threads added.

    On a machine that others use at the same time the second one is what can be
    compared, with one thread; it says nothing about several.
    """
    global _now
    _now = CLOCKS[name]


def interleave(
    sides: dict[str, Callable[[], object]],
    rounds: int,
    warmup: int = 1,
    device: str = 'cpu',
    repeat: int = 1,
    progress: str = '',
) -> dict[str, list[float]]:
    """Seconds a call of each side, in the order A B C A B C ...

    Args:
        sides (dict): Name -> function without arguments.
        rounds (int): Measurements of each side.
        warmup (int): Rounds before them that do not count.
        device (str): On CUDA two events bracket the calls, elsewhere the host's clock.
        repeat (int): Calls inside one measurement; on CUDA more than one lets
            the host run ahead of the device, as in training.
        progress (str): What to call this on the screen; empty prints nothing.

    Returns:
        dict: Name -> ``rounds`` numbers.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warmup + rounds):
        for name, function in sides.items():
            spent = _measure(function, repeat, device)
            if turn >= warmup:
                seconds[name].append(spent)
        if progress:
            what = 'warm-up' if turn < warmup else f'round {turn - warmup + 1} of {rounds}'
            print(f'  {progress}: {what}', flush=True)
    return seconds


def _measure(function: Callable[[], object], repeat: int, device: str) -> float:
    if device != 'cuda':
        start = _now()
        for _ in range(repeat):
            function()
        return (_now() - start) / repeat
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(repeat):
        function()
    stop.record()
    torch.cuda.synchronize()
    return start.elapsed_time(stop) / 1000 / repeat


def median(seconds: list[float]) -> float:
    """The middle one; of an even number the mean of the two."""
    return statistics.median(seconds)


def spread(ours: list[float], theirs: list[float]) -> str:
    """Smallest and largest ratio of neighbouring measurements, as text."""
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=False))
    return f'{ratios[0]:.3f}..{ratios[-1]:.3f}'
