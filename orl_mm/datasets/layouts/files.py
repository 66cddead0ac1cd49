"""Listing folders and opening images, fast enough for a million files."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from orl_mm.io.image import UnreadableImageError, decode_image

T = TypeVar('T')


def list_names(folder: str) -> set[str]:
    """Names in a folder, hidden ones left out; empty where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if not entry.name.startswith('.')}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def split_names(folder: str) -> tuple[list[str], list[str]]:
    """Sorted names of sub-folders and of files in a folder, hidden ones left out.

    The kind comes with the listing, so no file is asked for by itself; links are followed.
    """
    folders, files = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith('.'):
                (folders if entry.is_dir() else files).append(entry.name)
    return sorted(folders), sorted(files)


def spread(items: Sequence[T], count: int) -> list[T]:
    """``count`` of the items at even distances, always the same ones; all where there are fewer."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def unreadable(path: str) -> str:
    """Why an image file cannot be decoded; empty if it can."""
    try:
        with open(path, 'rb') as file:
            data = file.read()
        if not data:
            return 'an empty file'
        decode_image(data)
    except (UnreadableImageError, OSError) as error:
        return ' '.join(str(error).split()) or type(error).__name__
    return ''


def in_threads(
    work: Callable[[T], str], items: Sequence[T], progress: bool = False, unit: str = 'img'
) -> Iterator[tuple[T, str]]:
    """Items whose ``work`` gives a text, with that text, in order.

    Threads are enough: reading and decoding leave Python's lock.

    Args:
        progress (bool): Show a bar.
    """
    with ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1)) as pool:
        found = tqdm(pool.map(work, items), total=len(items), unit=unit, disable=not progress)
        for item, text in zip(items, found, strict=False):
            if text:
                yield item, text
