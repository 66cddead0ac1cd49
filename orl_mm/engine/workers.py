"""Where a tool's work on many images is done: processes of this machine, or a Dask cluster."""

import argparse
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_all_start_methods, get_context
from typing import Any

import cv2
from tqdm import tqdm

from . import cli


def check_worker_arguments(args: argparse.Namespace) -> None:
    """Raise ValueError for numbers below 1."""
    if args.workers < 1 or args.chunk < 1:
        raise ValueError(f'--workers={args.workers} and --chunk={args.chunk} must be at least 1')


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
    build: Callable, numbers: Callable[[Any], dict], total: int, args: argparse.Namespace
) -> Any:
    """Build on this machine's processes, or on the Dask cluster, under a progress bar.

    Args:
        build (callable): Takes ``executor``, ``in_flight`` and ``progress``, a function that
            it calls with its counts, which have a ``total``.
        numbers (callable): The counts to what the bar shows.
        total (int): How many images there are.
        args (argparse.Namespace): With the arguments of :func:`add_worker_arguments`.

    Returns:
        What ``build`` returns.
    """
    tqdm.monitor_interval = 0  # its thread would be forked along
    bar = tqdm(total=total, unit='img', smoothing=0.05)

    def progress(counts):
        bar.set_postfix(**numbers(counts), refresh=False)
        bar.update(counts.total - bar.n)

    with bar:
        if args.scheduler:
            with connect(args.scheduler) as client:
                cores = sum(client.nthreads().values())
                if not cores:
                    raise ValueError(
                        f'the scheduler {args.scheduler} has no workers yet; start some first'
                    )
                return build(
                    executor=client.get_executor(retries=3), in_flight=4 * cores, progress=progress
                )
        # A fork while OpenCV's threads hold a lock would hang in the child: end them first.
        cv2.setNumThreads(1)
        start = 'fork' if 'fork' in get_all_start_methods() else 'spawn'
        # Ctrl-C goes to all processes; only this one is to answer.
        with ProcessPoolExecutor(
            args.workers, get_context(start), signal.signal, (signal.SIGINT, signal.SIG_IGN)
        ) as pool:
            try:
                return build(executor=pool, in_flight=4 * args.workers, progress=progress)
            except BaseException:
                bar.write('stopping after the tasks at work ...')
                pool.shutdown(wait=False, cancel_futures=True)
                raise
