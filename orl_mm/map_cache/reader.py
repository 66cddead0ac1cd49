"""Read maps back from a cache, exactly as they were computed."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orl_mm.io.files import FileStore

from .entry import HEAD_BYTES, CacheError, checksum, decode_labels, entry_info
from .provenance import LMDB_SUFFIX, build_command, read_provenance, roots, spec_differences
from .spec import MapSpec, relative_path, spec_key

CHECKS = ('pixels', 'size', 'none')


class MapReader:
    """Reads the maps of a cache, and refuses those that do not belong to the image.

    An image's map is found by the image's path below the root. The recorded root is only a
    hint: the images may have been moved, with the cache or without it, or be reached through a
    symbolic link. Then the longest end of the path that has a map counts.

    Args:
        folder (str): The cache: a folder, a URL of mmengine's file back ends, or an LMDB database
            that ``--to lmdb`` made of it.
        kind (type): The :class:`~orl_mm.map_cache.spec.MapSpec` that it must hold.
        spec (MapSpec, optional): What the maps must have been made with. Default: anything.
        root (str, optional): The folder that the images' relative paths begin at.
        check (str): How a changed image is noticed: ``'pixels'`` compares the checksum of the
            pixels (0.04 ms), ``'size'`` the size of the file, ``'none'`` nothing.
        words (sequence): Arguments of the command that an error suggests if there is no cache.

    Attributes:
        provenance (dict): See :func:`~orl_mm.map_cache.provenance.read_provenance`.

    Raises:
        ValueError: An unknown ``check``.
        CacheError: No cache there, or one made in another way.
    """

    def __init__(
        self,
        folder: str,
        kind: type[MapSpec],
        spec: MapSpec | None = None,
        root: str | None = None,
        check: str = 'pixels',
        words: Sequence[str] = (),
    ) -> None:
        if check not in CHECKS:
            raise ValueError(f'check={check!r} is not one of {CHECKS}')
        self.folder, self.kind, self.check = folder, kind, check
        self.store = FileStore(folder)
        self._words = [] if spec is None else spec.words()
        self._source = ['--folder', root or 'IMAGES', *words]
        provenance = read_provenance(folder, kind)
        if provenance is None:
            raise CacheError(
                f'there are no {kind.what}s in {folder}; build them with\n  {self._command()}'
            )
        self.provenance = provenance
        self.roots = [root] if root else roots(folder, provenance)
        self._source = provenance.get('source') or ['--folder', self.roots[0]]
        differ = spec_differences(provenance, spec.to_dict() if spec else provenance['spec'])
        if differ:
            raise CacheError(
                f'the {kind.what}s in {folder} were made with {", ".join(differ)}; rebuild them '
                f'with\n  {self._command("--overwrite")}'
            )
        self.key = spec_key(provenance['spec'])

    @property
    def root(self) -> str:
        """The folder that the images' relative paths begin at."""
        return self.roots[0]

    def relative(self, img_path: str) -> str:
        """An image's path below the root; see the class on how it is found.

        Raises:
            CacheError: No root fits, and no map.
        """
        for root in self.roots:
            try:
                return relative_path(img_path, root)
            except ValueError:
                continue
        parts = Path(os.path.abspath(img_path)).parts
        for i in range(1, len(parts)):
            relative = os.path.join(*parts[i:])
            if self.store.has(f'{relative}.png'):
                self.roots.insert(0, os.path.join(*parts[:i]))
                return relative
        raise self._error(
            img_path, f'is missing: the image does not lie below {self.root}', self.folder
        )

    def load(
        self,
        img_path: str,
        size: int,
        pixels: np.ndarray | None = None,
        image_bytes: int | None = None,
    ) -> tuple[np.ndarray, str]:
        """The map of an image and its note.

        Args:
            img_path (str): The image file.
            size (int): Side of the map.
            pixels (np.ndarray, optional): What the spec's ``decode`` returns for the image now.
                Without them ``check='pixels'`` compares the file's size.
            image_bytes (int, optional): That size; None asks the file system.

        Returns:
            tuple: (size, size) uint8 or uint16, and the note.

        Raises:
            CacheError: The entry is missing, cut, foreign, stale or damaged.
        """
        relative = f'{self.relative(img_path)}.png'
        path = self.store.path(relative)
        try:
            data = self.store.get(relative)
        except FileNotFoundError:
            raise self._error(img_path, 'is missing', path) from None
        info = entry_info(data[:HEAD_BYTES], data[-12:])
        if info is None:
            raise self._error(img_path, 'is cut or foreign', path)
        if info.key != self.key:
            raise self._error(img_path, 'belongs to another cache', path)
        if self.check == 'pixels' and pixels is not None:
            stale = info.x0_crc != checksum(pixels)
        else:
            if image_bytes is None and self.check != 'none':
                image_bytes = _file_size(img_path)
            stale = self.check != 'none' and info.image_bytes != image_bytes
        if stale:
            what = 'is stale: the image changed since, or is decoded differently now'
            raise self._error(img_path, what, path, '--verify')
        labels = decode_labels(data)
        if labels is None or labels.shape != (size, size) or checksum(labels) != info.labels_crc:
            raise self._error(img_path, 'is damaged', path, '--verify')
        return labels, info.note

    def _error(self, img_path: str, what: str, path: str, *flags: str) -> CacheError:
        return CacheError(
            f'the {self.kind.what} of {img_path} {what} ({path}); rebuild it with\n  '
            f'{self._command(*flags)}'
        )

    def _command(self, *flags: str) -> str:
        flags = ('--to', 'lmdb', *flags) if self.store.lmdb else flags
        folder = self.folder.removesuffix(LMDB_SUFFIX)
        return build_command(self.kind, folder, [*self._source, *self._words], *flags)


def _file_size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError as error:
        raise ValueError(
            f"check='size' needs the image as a local file, and {path} is none; use check='pixels'"
        ) from error
