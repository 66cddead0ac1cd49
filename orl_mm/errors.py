"""Exceptions of which the commands print only the message."""

import errno

_NOT_WRITABLE = 'change its permissions or choose another path'
_WRONG_KIND = (
    'a file is where a folder should be, or a folder in place of a file: move it or choose another '
    'path'
)
FIXES = {
    errno.ENOSPC: 'free some space there',
    errno.EDQUOT: 'free some space there',
    errno.EFBIG: 'raise the limit on file sizes (ulimit -f)',
    errno.EACCES: _NOT_WRITABLE,
    errno.EPERM: _NOT_WRITABLE,
    errno.EROFS: _NOT_WRITABLE,
    errno.EEXIST: _WRONG_KIND,
    errno.ENOTDIR: _WRONG_KIND,
    errno.EISDIR: _WRONG_KIND,
}


class UserError(ValueError):
    """A mistake in a command, a config or the data; the commands print only its message."""


class DivergedError(UserError):
    """Training has produced NaN or infinity."""


def file_error(error: BaseException) -> str | None:
    """Path, reason and fix of a disk's or folder's error in one line; None for other errors."""
    if not isinstance(error, OSError) or error.errno not in FIXES or not error.filename:
        return None
    return f'{error.filename}: {error.strerror}; {FIXES[error.errno]}'
