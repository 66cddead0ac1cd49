"""Work over a long list, a few chunks at a time, on any executor."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from itertools import islice
from typing import Any


def in_chunks(
    executor: Executor,
    function: Callable[[Any, list], Any],
    job: Any,
    items: Iterable,
    chunk: int,
    in_flight: int,
) -> Iterator[Any]:
    """Yield ``function(job, chunk of items)``, in the order in which they finish.

    Only ``in_flight`` tasks exist at a time, each of ``chunk`` items, so neither the
    scheduler nor a task ever holds the whole list.

    Args:
        executor (Executor): Of ``concurrent.futures``, or Dask's ``client.get_executor()``.

    Raises:
        Exception: What a task raised.
    """
    items, pending, exhausted = iter(items), set(), False
    while pending or not exhausted:
        while not exhausted and len(pending) < in_flight:
            batch = list(islice(items, chunk))
            exhausted = not batch
            if batch:
                pending.add(executor.submit(function, job, batch))
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


def clean_temp_dir(folder: str) -> None:
    """Make the folder of unfinished files, and clear it of what killed runs left."""
    os.makedirs(folder, exist_ok=True)
    for entry in os.scandir(folder):
        if time.time() - entry.stat().st_mtime > 3600:
            os.unlink(entry.path)
