"""Commands that compute something for many images, on this machine or on a Dask cluster."""

import argparse
import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_all_start_methods, get_context, parent_process
from threading import Thread

import cv2
import torch
from tqdm import tqdm

from orl_mm.map_cache.build import UNREADABLE, BuildJob, Counts, build, prepare

from . import cli


def connect(scheduler: str):
    """A client of the Dask scheduler at an address.

    Raises:
        UserError: No Dask here, or no scheduler there.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise cli.UserError('--scheduler needs Dask; type: pip install distributed') from error
    try:
        return Client(scheduler, timeout='30s')
    except (OSError, ValueError) as error:
        raise cli.UserError(
            f'no Dask scheduler answers at {scheduler} ({error}); start one '
            'with `dask scheduler`, which prints its address'
        ) from error


def execute(
    job: BuildJob,
    items: Iterable,
    total: int,
    args: argparse.Namespace,
    numbers: Callable[[Counts], dict] = lambda counts: dict(
        made=counts.written, there=counts.skipped, bad=len(counts.unreadable)
    ),
) -> Counts:
    """Build a cache on this machine's processes, or on the Dask cluster, under a progress bar.

    Args:
        job, items: See :func:`~orl_mm.map_cache.build.build`.
        total (int): How many items there are.
        args (argparse.Namespace): With ``workers``, ``scheduler``, ``chunk`` and ``overwrite``.
        numbers (callable): What the bar shows of the counts.

    Raises:
        CacheError: The folder holds something else, see :func:`~orl_mm.map_cache.build.prepare`.
        UserError: No Dask, or no scheduler at the address.
    """
    prepare(job, args.overwrite)  # fails before a bar is drawn
    bar = progress_bar(total, 'img')

    def progress(counts: Counts) -> None:
        bar.set_postfix(**numbers(counts), refresh=False)
        bar.update(counts.total - bar.n)

    run = partial(build, job, items, chunk=args.chunk, overwrite=args.overwrite, progress=progress)
    with bar:
        if args.scheduler:
            with connect(args.scheduler) as client:
                cores = sum(client.nthreads().values())
                if not cores:
                    raise ValueError(
                        f'the scheduler {args.scheduler} has no workers yet; start some first'
                    )
                return run(executor=client.get_executor(retries=3), in_flight=4 * cores)
        # A fork while OpenCV's threads hold a lock would hang in the child: end them first.
        cv2.setNumThreads(1)
        start = 'fork' if 'fork' in get_all_start_methods() else 'spawn'
        with ProcessPoolExecutor(args.workers, get_context(start), _start_worker) as pool:
            try:
                return run(executor=pool, in_flight=4 * args.workers)
            except BrokenProcessPool as error:
                raise cli.UserError(
                    f'a worker process was killed, often for want of memory; {bar.n} of {total} '
                    'are done and kept. The same command continues, with fewer --workers (here '
                    f'{args.workers}) if memory is short'
                ) from error
            except BaseException:
                bar.write('stopping after the running tasks ...')
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def progress_bar(total: int, unit: str) -> tqdm:
    """A bar without tqdm's monitor thread: a fork while it holds a lock would hang the child."""
    tqdm.monitor_interval = 0
    return tqdm(total=total, unit=unit, smoothing=0.05)


def _start_worker() -> None:
    """Leave Ctrl-C, which goes to all processes, to the main one, and end when that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)  # OpenMP hangs in a fork of a process that has used its threads

    def end_with_parent() -> None:
        parent_process().join()  # type: ignore[union-attr]  # a worker has a parent
        os._exit(1)

    Thread(target=end_with_parent, daemon=True).start()


def report_lists(job: BuildJob, counts: Counts) -> None:
    """Print where unreadable images, and those of the spec's own lists, are named."""
    found = {UNREADABLE: len(counts.unreadable)}
    found |= {name: counts.status[status] for status, name in job.spec.lists.items()}
    for name, number in found.items():
        if number:
            print(f'{number} {name.removesuffix(".txt")} images: see {job.out}/{name}')
