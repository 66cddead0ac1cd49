"""Time alternatives in turns, and collect the figures of a benchmark."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import torch
from torch.profiler import ProfilerActivity, profile

CLOCKS = dict(wall=time.perf_counter, process=time.process_time)
Seconds = dict[str, list[float]]


def in_turns(
    sides: Mapping[str, Callable[[], object]],
    rounds: int,
    warmup: int = 1,
    device: str = 'cpu',
    repeat: int = 1,
    clock: str = 'wall',
    progress: str = '',
) -> Seconds:
    """Seconds per call of each side, in the order A B C A B C ...

    A slow minute of the machine then affects all sides alike. (``torch.utils.benchmark.Timer``
    cannot alternate, and adds two warm-up calls to every measurement.)

    Args:
        sides (dict): Name -> function without arguments.
        rounds (int): Measurements of each side.
        warmup (int): Rounds before them that are not counted.
        device (str): On ``'cuda'`` the device is synchronized around each measurement.
        repeat (int): Calls in a measurement; more than one lets the host run ahead of the device.
        clock (str): ``'wall'``, or ``'process'`` for the processor time of all threads, for a
            busy machine. CUDA always uses the wall clock.
        progress (str): Printed with each round unless empty.

    Returns:
        dict: Name -> list of ``rounds`` values.
    """
    cuda = device == 'cuda'
    now = time.perf_counter if cuda else CLOCKS[clock]
    wait = torch.cuda.synchronize if cuda else lambda: None
    seconds: Seconds = {name: [] for name in sides}
    for turn in range(warmup + rounds):
        for name, function in sides.items():
            wait()
            start = now()
            for _ in range(repeat):
                function()
            wait()
            if turn >= warmup:
                seconds[name].append((now() - start) / repeat)
        if progress:
            what = 'warm-up' if turn < warmup else f'round {turn - warmup + 1} of {rounds}'
            print(f'  {progress}: {what}', flush=True)
    return seconds


median = statistics.median


def spread(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Smallest and largest ratio of measurements that follow each other."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return min(ratios), max(ratios)


@contextmanager
def watch(
    parts: Sequence[tuple[str, object, str]], device: str = 'cpu', clock: str = 'wall'
) -> Iterator[Callable[[], dict[str, float]]]:
    """Add up the time spent in functions while a step runs.

    Args:
        parts (sequence): (name, owner, attribute) of functions; those of one name are
            added. The owner is an ``nn.Module``, another instance, or a Python module.
        device (str): On ``'cuda'`` events are recorded in the stream; the time between
            them includes time in which the device waits for the host.
        clock (str): See :func:`in_turns`.

    Yields:
        Callable: Returns name -> seconds of all calls so far.
    """
    spans: list[tuple] = []

    def mark():
        if device != 'cuda':
            return CLOCKS[clock]()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def timed(name: str, function: Callable) -> Callable:
        def wrapper(*args, **kwargs):
            start = mark()
            out = function(*args, **kwargs)
            spans.append((name, start, mark()))
            return out

        return wrapper

    def readings() -> dict[str, float]:
        if device == 'cuda':
            torch.cuda.synchronize()
        total = {name: 0.0 for name, _, _ in parts}
        for name, start, stop in spans:
            total[name] += start.elapsed_time(stop) / 1000 if device == 'cuda' else stop - start
        return total

    with ExitStack() as stack:
        for name, owner, attribute in parts:
            wrapper = timed(name, getattr(owner, attribute))
            stack.enter_context(mock.patch.object(owner, attribute, wrapper))
        yield readings


def peak_bytes(function: Callable[[], object], device: str = 'cpu') -> int:
    """Bytes of tensors alive at the same time during a call, above those before it.

    The function is called once to warm up. On CUDA this is the caching allocator's
    counter; on the CPU the allocations that torch's profiler records, without the
    scratch space that libraries take for themselves.
    """
    function()
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        function()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == '[memory]']
    total = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        total += event.nbytes()
        peak = max(peak, total)
    return peak


def host_waits(function: Callable[[], object]) -> int:
    """How often one call makes the host wait for the CUDA device (``.item()``, for instance)."""

    def waits(call: Callable[[], object]) -> int:
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
            call()
        # Events are waited for where they lie a step back, which costs nothing.
        names = ('cudaStreamSynchronize', 'cudaDeviceSynchronize')
        return sum(event.name in names for event in recorded.events())

    function()
    torch.cuda.synchronize()
    return waits(function) - waits(lambda: torch.zeros(1, device='cuda'))  # the profiler's own


class Report:
    """The figures of one benchmark, with their targets.

    Args:
        benchmark (str): Its name.
        args (Namespace): Of ``tools/benchmark.py``; device and clock are taken from it.
        **settings: Sizes of this run.

    Attributes:
        figures (list[dict]): Each with ``name``, ``value``, ``unit`` (``'x'`` for a ratio),
            ``target`` (or None), ``sense`` (``'at most'`` or ``'at least'`` the target),
            ``note`` and ``met`` (None without a target).
        details (dict): Anything else worth keeping, such as the raw times.
    """

    def __init__(self, benchmark: str, args: argparse.Namespace, **settings: object) -> None:
        self.benchmark = benchmark
        self.device, self.clock = args.device, args.clock
        self.settings = dict(settings, device=args.device, clock=args.clock)
        self.figures: list[dict] = []
        self.details: dict[str, object] = {}

    def time(
        self,
        sides: Mapping[str, Callable[[], object]],
        rounds: int,
        warmup: int = 1,
        repeat: int = 1,
        progress: str = '',
    ) -> Seconds:
        """:func:`in_turns` with this run's clock and device."""
        return in_turns(sides, rounds, warmup, self.device, repeat, self.clock, progress)

    def add(
        self,
        name: str,
        value: float,
        unit: str = 'x',
        target: float | None = None,
        sense: str = 'at most',
        note: str = '',
    ) -> None:
        value, met = float(value), None
        if target is not None:
            met = value <= target if sense == 'at most' else value >= target
        self.figures.append(
            dict(name=name, value=value, unit=unit, target=target, sense=sense, note=note, met=met)
        )

    def ratio(
        self, name: str, seconds: Seconds, top: str, bottom: str, note: str = '', **kwargs
    ) -> None:
        """Append the ratio of two sides' median times."""
        a, b = seconds[top], seconds[bottom]
        scale, unit = (1, 's') if median(b) > 0.1 else (1000, 'ms')
        low, high = spread(a, b)
        times = f'{scale * median(a):.4g} {unit} / {scale * median(b):.4g} {unit}'
        note = f'{note}{times}, pairs {low:.3f}..{high:.3f}'
        self.add(name, median(a) / median(b), note=note, **kwargs)

    def __str__(self) -> str:
        lines = [
            f'environment: {", ".join(f"{k} {v}" for k, v in environment().items())}',
            f'settings: {", ".join(f"{k} {v}" for k, v in self.settings.items())}',
            '',
            '| figure | measured | target | met | note |',
            '|---|---|---|---|---|',
        ]
        for f in self.figures:
            unit = '' if f['unit'] == 'x' else f' {f["unit"]}'
            value = f'{f["value"]:.3f}' if abs(f['value']) < 10 else f'{f["value"]:.1f}'
            target = '' if f['target'] is None else f'{f["sense"]} {f["target"]:g}{unit}'
            met = {None: '', True: 'yes', False: 'NO'}[f['met']]
            lines.append(f'| {f["name"]} | {value}{unit} | {target} | {met} | {f["note"]} |')
        return '\n'.join(lines)

    def write(self, path: str) -> None:
        """Write benchmark, environment, settings, figures and details as JSON."""
        found = dict(
            benchmark=self.benchmark,
            environment=environment(),
            settings=self.settings,
            figures=self.figures,
            details=self.details,
        )
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(found, indent=1) + '\n')


def environment() -> dict[str, object]:
    """The machine and versions that times depend on."""
    found: dict[str, object] = dict(
        python=platform.python_version(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        cpu_count=os.cpu_count(),
        machine=platform.machine(),
        cpu=torch.backends.cpu.get_cpu_capability(),
        load_at_end=[round(x, 2) for x in os.getloadavg()],
    )
    if torch.cuda.is_available():
        found.update(
            gpu=torch.cuda.get_device_name(),
            cuda=torch.version.cuda,
            tf32=torch.backends.cuda.matmul.allow_tf32,
            cudnn=torch.backends.cudnn.version(),
        )
    return found
