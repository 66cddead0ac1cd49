"""Write files that are never seen half written."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

TEMP_SUFFIX = '.tmp'  # of files that a killed process left unfinished


def write_atomic(
    path: str | Path, data: bytes, temp_dir: str | Path | None = None, sync: bool = False
) -> None:
    """Write a file in one step: if the process is killed it is either complete or unchanged.

    Args:
        path: The file; missing parent folders are made.
        data (bytes): Its content.
        temp_dir: Folder of the temporary file, on the same file system. Default: the
            file's own folder.
        sync (bool): Wait until the disk has it, so that it also survives a crash of the machine.

    Raises:
        OSError: With the path of the file, not of the temporary one.
    """
    folder = os.path.dirname(os.path.abspath(path))
    temp = ''
    try:
        os.makedirs(folder, exist_ok=True)
        handle, temp = tempfile.mkstemp(dir=temp_dir or folder, prefix='.', suffix=TEMP_SUFFIX)
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(handle)
        os.chmod(temp, 0o644)  # mkstemp makes private files
        os.replace(temp, path)
    except BaseException as error:
        if os.path.exists(temp):
            os.unlink(temp)
        if isinstance(error, OSError):  # a full disk is reported without any path
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    if sync:
        _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Make a rename durable; some file systems cannot sync a folder and need no sync."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
