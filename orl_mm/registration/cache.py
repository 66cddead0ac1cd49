"""A folder of registered templates, a PNG an image, beside one provenance file.

Image ``a/b.jpg`` of the root has its parts in ``a/b.jpg.png``: bit r of a pixel says whether
part r covers it, on a square grid over the whole image. Each entry says what it belongs to, see
``orl_mm/superpixels/entry.py``, and what became of its registration.
"""

import hashlib
import json
import os
import shlex
from collections.abc import Sequence

import numpy as np

from orl_mm.map_cache.entry import (
    HEAD_BYTES,
    CacheError,
    checksum,
    decode_labels,
    entry_info,
    relative_path,
)
from orl_mm.registration.contrast import to_grey
from orl_mm.registration.outcome import Outcome

PROVENANCE = 'templates.json'
FORMAT = 1
CHECKS = ('pixels', 'size', 'none')


def spec_key(spec: dict) -> str:
    """Eight hexadecimal digits that differ where the templates may differ."""
    text = json.dumps(spec, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def pack_parts(masks: np.ndarray) -> np.ndarray:
    """(R, S, S) 0/1 to (S, S) uint16 with part r in bit r."""
    bits = 1 << np.arange(len(masks), dtype=np.uint16)
    return np.tensordot(bits, masks.astype(np.uint16), 1).astype(np.uint16)


def unpack_parts(labels: np.ndarray, count: int) -> np.ndarray:
    """(S, S) of any unsigned type to (count, S, S) uint8 0/1."""
    bits = np.arange(count, dtype=np.uint16)[:, None, None]
    return ((labels[None].astype(np.uint16) >> bits) & 1).astype(np.uint8)


def read_provenance(folder: str) -> dict | None:
    """The provenance of a template cache; None where the folder is no such cache.

    Raises:
        CacheError: The file is there, but damaged.
    """
    path = os.path.join(folder, PROVENANCE)
    if not os.path.isfile(path):
        return None
    try:
        with open(path, encoding='utf-8') as file:
            found = json.load(file)
        found['spec']['parts'], found['spec']['settings']['size'], found['root']
        return found
    except (ValueError, KeyError, TypeError) as error:
        raise CacheError(
            f'{path} is damaged ({error!r}); delete it and register again with the '
            'same arguments, finished templates are kept'
        ) from error


def build_command(source: Sequence[str], folder: str, *flags: str) -> str:
    """The command that builds a cache."""
    words = ['python', 'tools/register_templates.py', *source, '--out', folder, *flags]
    return ' '.join(shlex.quote(word) for word in words)


class TemplateCache:
    """Reads registered templates back, or says why not.

    Args:
        folder (str): The cache.
        root (str, optional): The folder that the images' relative paths begin at; defaults
            to the one recorded when the cache was built.
        check (str): How an image that changed since is noticed: ``pixels`` compares the
            checksum of its grey levels, ``size`` the file's size, ``none`` nothing.

    Raises:
        CacheError: No cache there, or one of another format.
    """

    def __init__(self, folder: str, root: str | None = None, check: str = 'pixels') -> None:
        if check not in CHECKS:
            raise ValueError(f'check={check!r} is not one of {CHECKS}')
        self.folder, self.check = folder, check
        provenance = read_provenance(folder)
        if provenance is None:
            command = build_command(
                ['--folder', root or 'IMAGES', '--exemplar', 'IMAGE', '--mask', 'PART=FILE'], folder
            )
            raise CacheError(f'no registered templates in {folder}; make them with\n  {command}')
        self.provenance = provenance
        self.root = root or provenance['root']
        self.source: list[str] = provenance.get('source', [])
        if provenance.get('format') != FORMAT:
            raise CacheError(
                f'{folder} has format {provenance.get("format")} instead of {FORMAT}; '
                f'rebuild it with\n  {self._command("--overwrite")}'
            )
        self.parts: tuple[str, ...] = tuple(provenance['spec']['parts'])
        self.size: int = provenance['spec']['settings']['size']
        self.key = spec_key(provenance['spec'])

    def read(self, img_path: str, img: np.ndarray | None = None) -> np.ndarray:
        """The template of an image.

        Args:
            img_path (str): The image file.
            img (np.ndarray, optional): (H, W, 3) BGR or (H, W), uint8, as it was decoded now;
                without it ``check='pixels'`` looks at the file's size.

        Returns:
            np.ndarray: (R, S, S) uint8 0/1, covering the whole image.

        Raises:
            CacheError: The entry is missing, cut, foreign or out of date.
        """
        labels, _ = self._read(img_path, img)
        return unpack_parts(labels, len(self.parts))

    def outcome(self, img_path: str) -> Outcome:
        """What became of an image's registration, with its masks.

        Raises:
            CacheError: As :meth:`read`.
        """
        labels, note = self._read(img_path, None)
        found = Outcome.from_note(note)
        return Outcome(
            found.status, found.reason, found.quality, unpack_parts(labels, len(self.parts))
        )

    def _read(self, img_path: str, img: np.ndarray | None) -> tuple[np.ndarray, str]:
        path = os.path.join(self.folder, relative_path(img_path, self.root) + '.png')
        try:
            with open(path, 'rb') as file:
                data = file.read()
        except FileNotFoundError:
            raise self._error(img_path, 'is missing', path) from None
        info = entry_info(data[:HEAD_BYTES], data[-12:])
        if info is None:
            raise self._error(img_path, 'is cut or foreign', path)
        if info.key != self.key:
            raise self._error(img_path, 'belongs to another cache', path)
        if self.check == 'pixels' and img is not None:
            stale = info.x0_crc != checksum(to_grey(img))
        else:
            stale = self.check != 'none' and info.image_bytes != os.path.getsize(img_path)
        if stale:
            raise self._error(
                img_path,
                'is stale: the image changed since, or is decoded differently here',
                path,
                '--verify',
            )
        labels = decode_labels(data)
        if (
            labels is None
            or labels.shape != (self.size, self.size)
            or checksum(labels) != info.labels_crc
        ):
            raise self._error(img_path, 'is damaged', path, '--verify')
        return labels, info.note

    def _error(self, img_path: str, what: str, path: str, *flags: str) -> CacheError:
        return CacheError(
            f'the registered template of {img_path} {what} ({path}); '
            f'make it with\n  {self._command(*flags)}'
        )

    def _command(self, *flags: str) -> str:
        return build_command(self.source, self.folder, *flags)
