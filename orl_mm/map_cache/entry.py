"""One file of a cache: an image file with a text that says what it was computed from.

The text holds the cache's key, the size of the source image, the checksums of its pixels and of
the stored array, and a note. It is a ``tEXt`` chunk in PNG files and a comment in JPEG files, so
that any program opens them, and reading it takes 0.05 ms.
"""

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from orl_mm.errors import UserError

HEAD_BYTES = 768  # the text lies within the first HEAD_BYTES of a file
NOTE_BYTES = 600
_TAG = b'orl_mm\0'
_PNG, _PNG_TEXT_AT, _PNG_END = b'\x89PNG', 33, b'\0\0\0\0IEND\xaeB`\x82'
_JPEG, _JPEG_END = b'\xff\xd8\xff\xe0', b'\xff\xd9'


class CacheError(UserError):
    """A missing, stale, foreign or damaged cache; the message has the command that rebuilds it."""


@dataclass(frozen=True)
class EntryInfo:
    """The text of an entry.

    Attributes:
        key (str): Of the cache, see :attr:`orl_mm.map_cache.spec.MapSpec.key`.
        image_bytes (int): Size of the source image's file.
        x0_crc (int): Checksum of the pixels that the map was computed from.
        labels_crc (int): Checksum of the stored array.
        note (str): What the spec adds.
    """

    key: str
    image_bytes: int
    x0_crc: int
    labels_crc: int
    note: str = ''


def encode_entry(
    array: np.ndarray,
    key: str,
    image_bytes: int,
    pixels: np.ndarray,
    note: str = '',
    suffix: str = '.png',
    options: Sequence[int] = (cv2.IMWRITE_PNG_COMPRESSION, 6),
) -> bytes:
    """The bytes of an entry.

    Args:
        array (np.ndarray): (H, W) non-negative integers; stored with 8 bits if they fit.
        key (str): Without spaces.
        image_bytes (int): Size of the source image's file.
        pixels (np.ndarray): What the map was computed from.
        note (str): Up to 600 bytes.
        suffix, options: Format, and parameters of ``cv2.imencode``.

    Raises:
        ValueError: Values above 65,535, or a longer note.
    """
    if len(note.encode()) > NOTE_BYTES:
        raise ValueError(
            f'a note of {len(note.encode())} bytes does not fit; at most {NOTE_BYTES} do'
        )
    top = int(array.max())
    if top > 65535:
        raise ValueError(f'{top + 1} regions do not fit into a 16-bit PNG')
    array = array.astype(np.uint8 if top < 256 else np.uint16)
    data = cv2.imencode(suffix, array, list(options))[1].tobytes()
    text = f'{key} {image_bytes} {checksum(pixels):08x} {checksum(array):08x} {note}'
    return _insert(data, _TAG + text.rstrip().encode())


def _insert(data: bytes, text: bytes) -> bytes:
    if data.startswith(_PNG):
        body, at = b'tEXt' + text, _PNG_TEXT_AT
        chunk = struct.pack('>I', len(text)) + body + struct.pack('>I', zlib.crc32(body))
    else:
        at = _jpeg_text_at(data)
        chunk = b'\xff\xfe' + struct.pack('>H', len(text) + 2) + text
    return data[:at] + chunk + data[at:]


def _jpeg_text_at(data: bytes) -> int:
    return 4 + struct.unpack_from('>H', data, 4)[0]  # after the JFIF header


def entry_info(head: bytes, tail: bytes) -> EntryInfo | None:
    """The text of an entry; None if the file is cut or was written by another program.

    Args:
        head (bytes): Its first :data:`HEAD_BYTES`, or more.
        tail (bytes): Its last 12 bytes, or more.
    """
    try:
        if head.startswith(_PNG) and tail.endswith(_PNG_END):
            length, kind = struct.unpack_from('>I4s', head, _PNG_TEXT_AT)
            start, found = _PNG_TEXT_AT + 8, kind == b'tEXt'
        elif head.startswith(_JPEG) and tail.endswith(_JPEG_END):
            start = _jpeg_text_at(head) + 4
            kind, length = struct.unpack_from('>2sH', head, start - 4)
            length, found = length - 2, kind == b'\xff\xfe'
        else:
            return None
        text = head[start : start + length]
        if not found or len(text) < length or not text.startswith(_TAG):
            return None
        key, size, x0_crc, labels_crc, *note = text[len(_TAG) :].decode().split(' ', 4)
        return EntryInfo(key, int(size), int(x0_crc, 16), int(labels_crc, 16), *note)
    except (struct.error, ValueError):
        return None


def read_entry_info(path: str) -> EntryInfo | None:
    """:func:`entry_info` of a file, without decoding it; None also if there is no file."""
    try:
        with open(path, 'rb') as file:
            head = file.read(HEAD_BYTES)
            file.seek(max(0, os.fstat(file.fileno()).st_size - 12))
            return entry_info(head, file.read())
    except FileNotFoundError:
        return None


def decode_labels(data: bytes) -> np.ndarray | None:
    """The array of an entry, uint8 or uint16; None if the bytes are no image."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def checksum(array: np.ndarray) -> int:
    """CRC-32 of an array's bytes in C order."""
    return zlib.crc32(np.ascontiguousarray(array).data)
