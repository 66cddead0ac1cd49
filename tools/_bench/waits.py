"""How often the host waits for the CUDA device while a function runs."""

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

NAMES = ('cudaStreamSynchronize', 'cudaDeviceSynchronize', 'cudaEventSynchronize')


def host_waits(function: Callable[[], object]) -> int:
    """Calls of CUDA's synchronising functions in one call, after one that warms up.

    A copy of a value to the host (``.item()``) is one of them.
    """
    function()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        function()
    return sum(event.name in NAMES for event in recorded.events()) - _of_the_profiler()


def _of_the_profiler() -> int:
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        torch.zeros(1, device='cuda')
    return sum(event.name in NAMES for event in recorded.events())
