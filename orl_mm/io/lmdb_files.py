"""Many small files in one LMDB database: a single open file instead of one for each image.

The layout is that of mmengine's ``LmdbBackend``: a folder with LMDB's ``data.mdb``, the key of a
file is its relative path, its value is the file's bytes. ``keys.txt`` beside it lists the keys.
"""

import os
from collections.abc import Callable, Iterable
from itertools import chain
from types import ModuleType
from typing import NamedTuple

from orl_mm.errors import UserError

from .atomic import write_atomic

KEYS = 'keys.txt'
DATA = 'data.mdb'
_MAP_SIZE = 1 << 40  # an upper bound of the address range; the file has the size of its data
_COMMIT = 1000  # files of a transaction
_COMMIT_BYTES = 1 << 28  # and their bytes, which it holds in memory
_environments: dict = {}  # LMDB allows one environment for each path in a process


class LmdbError(UserError):
    """A missing, cut or foreign database, or one that cannot be written."""


class LmdbFiles:
    """Read files from a database that :func:`pack` wrote.

    mmengine's ``LmdbBackend`` reads the same layout, but a database that was cut makes it end
    the process with SIGBUS, it returns None for a missing key, and it takes ASCII keys only.

    Args:
        folder (str): The database. It is opened at the first read, and worker processes that are
            forked later share it.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def get(self, key: str) -> bytes:
        """The bytes of a file.

        Raises:
            FileNotFoundError: The database has no such key.
            LmdbError: It cannot be read.
        """
        with open_database(self.folder).begin() as transaction:
            data = transaction.get(os.fsencode(key))
        if data is None:
            raise FileNotFoundError(f'{self.folder} has no key {key!r}')
        return data

    def has(self, key: str) -> bool:
        """Whether the database has a key."""
        with open_database(self.folder).begin(buffers=True) as transaction:
            return transaction.get(os.fsencode(key)) is not None

    def keys(self) -> list[str]:
        """The keys in the order in which they were packed.

        Raises:
            LmdbError: ``keys.txt`` is missing: it is written last, so packing was interrupted.
        """
        path = os.path.join(self.folder, KEYS)
        try:
            with open(path, 'rb') as file:
                return os.fsdecode(file.read()).split('\n')[:-1]
        except FileNotFoundError:
            raise LmdbError(
                f'{path} is missing: the database is not finished; repeat the command that packs it'
            ) from None


def is_database(folder: str) -> bool:
    """Whether a folder holds an LMDB database."""
    return os.path.isfile(os.path.join(folder, DATA))


def open_database(folder: str):
    """The read-only environment of a database, opened once in this process.

    Raises:
        LmdbError: No database there, another kind of file, or one that was cut.
        ImportError: The package lmdb is missing.
    """
    lmdb = import_lmdb()
    path = os.path.realpath(folder)
    if path not in _environments:
        file = os.path.join(path, DATA)
        try:
            found = lmdb.open(path, readonly=True, lock=False, readahead=False, create=False)
        except lmdb.Error as error:
            raise LmdbError(f'{folder} is not an LMDB database ({error}); pack it again') from error
        needed = (found.info()['last_pgno'] + 1) * found.stat()['psize']
        if os.path.getsize(file) < needed:
            found.close()
            raise LmdbError(
                f'{file} was cut: it has {os.path.getsize(file):,} of {needed:,} bytes; copy it '
                'again, or delete it and pack it again'
            )
        _environments[path] = found
    return _environments[path]


class Packed(NamedTuple):
    """What became of the files of :func:`pack`.

    Attributes:
        written, unchanged (int): Files that were written, and that were there already.
        failed (list): (key, reason) of files that could not be read.
    """

    written: int
    unchanged: int
    failed: list[tuple[str, str]]


def pack(
    keys: Iterable[str],
    read: Callable[[str], bytes],
    unchanged: Callable[[str, memoryview], bool],
    folder: str,
    progress: Callable[[int], object] | None = None,
) -> Packed:
    """Write files into a database; the same call continues a run that was interrupted.

    A transaction of at most 1,000 files is either complete or absent after a crash.

    Args:
        keys (iterable): Names without line breaks, at most 511 bytes long.
        read (callable): The bytes of a key. Its OSErrors are collected.
        unchanged (callable): Whether a key's bytes in the database are those that ``read`` would
            return; such keys are left as they are.
        folder (str): The database, created if needed.
        progress (callable, optional): Called after each transaction with its number of keys.

    Raises:
        ValueError: A key that LMDB or ``keys.txt`` cannot hold.
        LmdbError: The folder cannot be written, or the disk is full.
        ImportError: The package lmdb is missing.
    """
    lmdb = import_lmdb()
    path = os.path.realpath(folder)
    if path in _environments:
        _environments.pop(path).close()
    names: list[str] = []
    failed: list[tuple[str, str]] = []
    written = 0
    try:
        os.makedirs(path, exist_ok=True)
        keys_file = os.path.join(path, KEYS)
        if os.path.exists(keys_file):
            os.unlink(keys_file)  # it says that the database is complete
        with lmdb.open(path, map_size=_MAP_SIZE) as database:
            keys = iter(keys)
            for first in keys:
                done = size = 0
                with database.begin(write=True, buffers=True) as transaction:
                    for name in chain([first], keys):
                        key = _key(name, database.max_key_size())
                        try:
                            stored = transaction.get(key)
                            if stored is None or not unchanged(name, stored):
                                data = read(name)
                                transaction.put(key, data)
                                written, size = written + 1, size + len(data)
                        except OSError as error:
                            failed.append((name, str(error)))
                        else:
                            names.append(name)
                        done += 1
                        if done == _COMMIT or size > _COMMIT_BYTES:
                            break
                if progress is not None:
                    progress(done)
        if failed and not names:
            raise OSError(f'no file could be read; the first: {failed[0][0]}, {failed[0][1]}')
        lines = ''.join(f'{name}\n' for name in names)
        write_atomic(keys_file, os.fsencode(lines))
    except (lmdb.Error, OSError) as error:
        raise LmdbError(
            f'{folder} cannot be written ({error}); free the disk or choose another folder, then '
            'repeat the command, which continues'
        ) from error
    return Packed(written, len(names) - written, failed)


def _key(name: str, limit: int) -> bytes:
    key = os.fsencode(name)
    if not 0 < len(key) <= limit or b'\n' in key:
        raise ValueError(
            f'{name!r} cannot be a key: it needs 1 to {limit} bytes and no line break; rename it'
        )
    return key


def import_lmdb() -> ModuleType:
    """The package lmdb.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import lmdb
    except ModuleNotFoundError as error:
        raise ImportError('LMDB databases need the package lmdb: pip install lmdb') from error
    return lmdb
