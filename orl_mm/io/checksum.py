"""A checksum of a whole file at its end, where readers of zips and of pickles ignore it."""

import os
import zlib
from typing import BinaryIO

_MARK = b'crc32='
_LENGTH = len(_MARK) + 8
_CHUNK = 1 << 24


def with_checksum(data: bytes) -> bytes:
    """Append the CRC-32 to a pickle, or to a zip, which torch writes, as its comment.

    The zip's own checksums cover its records only, not their names and places.
    """
    parts: list[bytes | memoryview] = [data]
    if data.startswith(b'PK'):  # a zip without comment: its last two bytes are the length of one
        parts = [memoryview(data)[:-2], _LENGTH.to_bytes(2, 'little')]
    found = 0
    for part in parts:
        found = zlib.crc32(part, found)
    return b''.join([*parts, _MARK + b'%08x' % found])  # one copy of a large file


def has_checksum(file: BinaryIO) -> bool:
    """Compare an open file with the checksum at its end; False if there is none.

    Raises:
        ValueError: The file was altered.
    """
    length = file.seek(0, os.SEEK_END) - _LENGTH
    file.seek(max(length, 0))
    mark = file.read()
    file.seek(0)
    if not mark.startswith(_MARK):
        return False
    found = 0
    while length > 0:
        chunk = file.read(min(_CHUNK, length))
        found, length = zlib.crc32(chunk, found), length - len(chunk)
    file.seek(0)
    if mark != _MARK + b'%08x' % found:
        raise ValueError('its checksum is wrong')
    return True
