"""A folder of label maps, a PNG an image, beside one provenance file.

Image ``a/b.jpg`` of the root has its labels in ``a/b.jpg.png`` (8 bits for up
to 256 regions, else 16), which says what it belongs to, see ``entry.py``.
"""

import json
import os
import shlex

import numpy as np

from orl_mm.map_cache.entry import (
    HEAD_BYTES,
    CacheError,
    EntryInfo,  # noqa: F401
    checksum,
    decode_labels,
    entry_info,
    relative_path,
)
from orl_mm.superpixels.spec import PriorSpec

PROVENANCE = 'superpixels.json'
FORMAT = 1
CHECKS = ('pixels', 'size', 'none')


def read_provenance(folder: str) -> dict | None:
    """The provenance of a cache; None where the folder is no cache.

    Raises:
        CacheError: The file is there, but damaged.
    """
    path = os.path.join(folder, PROVENANCE)
    if not os.path.isfile(path):
        return None
    try:
        with open(path, encoding='utf-8') as file:
            provenance = json.load(file)
        provenance['spec']['method'], provenance['root']
        return provenance
    except (ValueError, KeyError, TypeError) as error:
        raise CacheError(
            f'{path} is damaged ({error}); delete it and build '
            'the cache again, finished masks are kept'
        ) from error


def differences(provenance: dict, spec: PriorSpec) -> list[str]:
    """What tells a cache's prior from the wanted one, in words."""
    have, want = provenance['spec'], spec.to_dict()
    words = [
        f'{name} {have.get(name)!r} instead of {want[name]!r}'
        for name in ('method', 'size', 'library')
        if have.get(name) != want[name]
    ]
    params = have.get('params', {})
    if have.get('method') == want['method']:
        words += [
            f'{name} {params.get(name)!r} instead of {value!r}'
            for name, value in want['params'].items()
            if params.get(name) != value
        ]
    if provenance.get('format') != FORMAT:
        words.append(f'format {provenance.get("format")} instead of {FORMAT}')
    return words


def build_command(spec: PriorSpec, folder: str, source: list[str], *flags: str) -> str:
    """The command that builds a cache."""
    words = [
        'python',
        'tools/cache_superpixels.py',
        *source,
        '--out',
        folder,
        '--method',
        spec.method,
        '--size',
        str(spec.size),
        '--params',
    ]
    words += [f'{name}={value}' for name, value in spec.params.items()]
    return ' '.join(shlex.quote(word) for word in [*words, *flags])


class SuperpixelCache:
    """Reads label maps back, exactly as they would be computed, or says why not.

    Args:
        folder (str): The cache.
        spec (PriorSpec): The prior that is wanted.
        root (str, optional): The folder that the images' relative paths begin
            at; defaults to the one recorded when the cache was built.
        check (str): How an image that changed since is noticed: ``pixels``
            compares the checksum of x0 (0.04 ms), ``size`` the file's size,
            ``none`` nothing.

    Raises:
        CacheError: No cache there, or one of another prior.
    """

    def __init__(
        self, folder: str, spec: PriorSpec, root: str | None = None, check: str = 'pixels'
    ) -> None:
        if check not in CHECKS:
            raise ValueError(f'check={check!r} is not one of {CHECKS}')
        self.folder, self.spec, self.check = folder, spec, check
        provenance = read_provenance(folder)
        self.source = ['--folder', root or 'IMAGES']
        if provenance is None:
            raise CacheError(f'no superpixel cache in {folder}; build it with\n  {self._command()}')
        self.root = root or provenance['root']
        self.source = provenance.get('source') or ['--folder', self.root]
        words = differences(provenance, spec)
        if words:
            raise CacheError(
                f'the superpixel cache {folder} was made with '
                f'{", ".join(words)}; rebuild it with\n  '
                f'{self._command("--overwrite")}'
            )

    def read(self, img_path: str, x0: np.ndarray) -> np.ndarray:
        """Labels (S, S) uint8 or uint16 of an image.

        Args:
            img_path (str): The image file.
            x0 (np.ndarray): (S, S, 3) uint8, BGR, as it was decoded now.

        Raises:
            CacheError: The entry is missing, cut, foreign or out of date.
        """
        path = os.path.join(self.folder, relative_path(img_path, self.root) + '.png')
        try:
            with open(path, 'rb') as file:
                data = file.read()
        except FileNotFoundError:
            raise self._error(img_path, 'is missing', path) from None
        info = entry_info(data[:HEAD_BYTES], data[-12:])
        if info is None:
            raise self._error(img_path, 'is cut or foreign', path)
        if info.key != self.spec.key:
            raise self._error(img_path, 'belongs to another cache', path)
        if (
            self.check == 'pixels'
            and info.x0_crc != checksum(x0)
            or (self.check == 'size' and info.image_bytes != os.path.getsize(img_path))
        ):
            raise self._error(
                img_path,
                'is stale: the image changed since, or is decoded differently here',
                path,
                '--verify',
            )
        labels = decode_labels(data)
        size = self.spec.size
        if labels is None or labels.shape != (size, size) or checksum(labels) != info.labels_crc:
            raise self._error(img_path, 'is damaged', path, '--verify')
        return labels

    def _error(self, img_path, what, path, *flags) -> CacheError:
        return CacheError(
            f'the cached mask of {img_path} {what} ({path}); '
            f'rebuild it with\n  {self._command(*flags)}'
        )

    def _command(self, *flags: str) -> str:
        return build_command(self.spec, self.folder, self.source, *flags)
