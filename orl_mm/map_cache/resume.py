"""Which entries of a cache are finished, so that a killed job goes on."""

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from orl_mm.map_cache.entry import EntryInfo, checksum, decode_labels, read_entry_info


class Unfinished(NamedTuple):
    """An image whose entry is to be made: the size of its file, and its pixels."""

    image_bytes: int
    pixels: np.ndarray


def unfinished(
    image: str, entry: str, key: str, decode: Callable[[bytes], np.ndarray], verify: bool
) -> Unfinished | None:
    """What is to be made, or None where a finished entry is there.

    Args:
        image (str): The image file.
        entry (str): Where its entry is or will be.
        key (str): Of the cache; entries with another one do not count.
        decode (callable): The file's bytes to the pixels that the entry depends on.
        verify (bool): Decode image and entry and compare, instead of trusting sizes and times.

    Raises:
        FileNotFoundError: No such image; and what ``decode`` raises.
    """
    info = read_entry_info(entry)
    if info is not None and info.key != key:
        info = None
    stat = os.stat(image)
    if (
        info
        and not verify
        and info.image_bytes == stat.st_size
        and stat.st_mtime_ns <= os.stat(entry).st_mtime_ns
    ):
        return None
    with open(image, 'rb') as file:
        data = file.read()
    pixels = decode(data)
    if (
        info
        and info.image_bytes == len(data)
        and info.x0_crc == checksum(pixels)
        and (not verify or _intact(entry, info))
    ):
        os.utime(entry)  # the image is newer, but the same
        return None
    return Unfinished(len(data), pixels)


def _intact(entry: str, info: EntryInfo) -> bool:
    with open(entry, 'rb') as file:
        labels = decode_labels(file.read())
    return labels is not None and checksum(labels) == info.labels_crc
