"""Read files through mmengine's file back ends: local, http, LMDB, and what the user registered."""

import os

from mmengine import fileio

from .lmdb_files import LmdbFiles, import_lmdb, is_database


def check_backend(backend_args: dict | None) -> None:
    """Raise if a back end does not exist or its package is missing.

    Args:
        backend_args (dict, optional): mmengine's, such as ``dict(backend='lmdb', db_path=...)``.

    Raises:
        ValueError: No ``backend``, an unknown one, or arguments that it does not take.
        ImportError: Its package is not installed.
    """
    if backend_args is None:
        return
    name = backend_args.get('backend')
    known = sorted(fileio.backends.backends)
    if name not in known:
        raise ValueError(f'backend_args={backend_args} needs a backend of {known}')
    if name == 'lmdb':
        if set(backend_args) != {'backend', 'db_path'}:
            raise ValueError(
                f"backend_args={backend_args} must be dict(backend='lmdb', db_path=FOLDER)"
            )
        import_lmdb()
        return
    try:
        fileio.get_file_backend(backend_args=backend_args)
    except TypeError as error:
        raise ValueError(f'backend_args={backend_args} do not fit {name}: {error}') from error


def is_local(path: str, backend_args: dict | None) -> bool:
    """Whether a path names a file on a disk of this machine."""
    return (backend_args is None or backend_args['backend'] == 'local') and '://' not in path


def read_file(path: str, backend_args: dict | None = None) -> bytes:
    """The bytes of a file.

    Args:
        path (str): A local path, a URL, or a key of the back end.
        backend_args (dict, optional): See :func:`check_backend`; None chooses by the path.

    Raises:
        OSError: It does not exist or cannot be read.
    """
    if is_local(path, backend_args):
        with open(path, 'rb') as file:
            return file.read()
    if backend_args is not None and backend_args['backend'] == 'lmdb':
        return LmdbFiles(backend_args['db_path']).get(path)
    return fileio.get(path, backend_args=backend_args)


class FileStore:
    """The files below a local folder or a URL, or in an LMDB database.

    Args:
        folder (str): A folder, a URL of mmengine's back ends, or the folder of a database.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.lmdb = LmdbFiles(folder) if is_database(folder) else None

    def path(self, relative: str) -> str:
        """What a file is called in messages."""
        if '://' in self.folder:
            return f'{self.folder.rstrip("/")}/{relative}'
        return os.path.join(self.folder, relative)

    def get(self, relative: str) -> bytes:
        """The bytes of a file.

        Raises:
            OSError: It does not exist or cannot be read.
        """
        return self.lmdb.get(relative) if self.lmdb else read_file(self.path(relative))

    def has(self, relative: str) -> bool:
        """Whether there is such a file."""
        if self.lmdb:
            return self.lmdb.has(relative)
        if '://' in self.folder:
            return fileio.exists(self.path(relative))
        return os.path.isfile(self.path(relative))
