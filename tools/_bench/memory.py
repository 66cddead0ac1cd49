"""Most memory that tensors hold while a function runs, above what it started with."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(function: Callable[[], object], device: str = 'cpu') -> int:
    """Extra bytes of tensors alive at once during one call (after one that warms up).

    On CUDA the caching allocator's own counter. On the CPU every allocation and
    release that torch's profiler records, added up in their order; scratch space
    that a library takes by itself is not seen.
    """
    function()
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        function()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / 'trace.json'
        recorded.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())['traceEvents']
    changes = [
        (event['ts'], event['args']['Bytes']) for event in events if event.get('name') == '[memory]'
    ]
    total = peak = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        total += change
        peak = max(peak, total)
    return peak
