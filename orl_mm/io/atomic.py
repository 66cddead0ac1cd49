"""Write files that are never seen half written."""

import os
import tempfile
from pathlib import Path


def write_atomic(path: str | Path, data: bytes, temp_dir: str | Path | None = None) -> None:
    """Write a file in one step: after a crash it is either complete or unchanged.

    Args:
        path: The file; missing parent folders are made.
        data (bytes): Its content.
        temp_dir: Folder of the temporary file, on the same file system. Default: the
            file's own folder.
    """
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    handle, temp = tempfile.mkstemp(dir=temp_dir or folder, prefix='.')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
        os.chmod(temp, 0o644)  # mkstemp makes private files
        os.replace(temp, path)
    except BaseException:
        if os.path.exists(temp):
            os.unlink(temp)
        raise
