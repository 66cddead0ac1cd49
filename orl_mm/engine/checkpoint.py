"""Checkpoints read as data: a file that carries code is refused, never run."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mm_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

try:
    from numpy._core import multiarray  # numpy 2
except ImportError:
    from numpy.core import multiarray


def load_weights(path: str | Path, map_location: Any = 'cpu') -> Any:
    """Read a checkpoint: tensors, plain containers, and mmengine's log history.

    Args:
        path (str or Path): A file of ``torch.save``, such as mmengine's.
        map_location: See ``torch.load``.

    Returns:
        What was saved.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is cut or no checkpoint, or its pickle names a class or
            function beyond :func:`allowed_globals`. Nothing of it has run then.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint {path}')
    return _read(path, str(path), map_location)


def allowed_globals() -> list[Callable]:
    """All that mmengine's own checkpoints need, beyond tensors and plain containers.

    The history of logged scalars is a ``HistoryBuffer`` with two numpy arrays and
    the names of its statistics, which are pickled as ``getattr(HistoryBuffer,
    'mean')``: so ``getattr`` is replaced by a function that gives those alone.
    """
    dtypes = {
        type(np.dtype(name)) for name in ('float64', 'float32', 'int64', 'int32', 'uint8', 'bool')
    }
    both = []  # numpy 1 and numpy 2 name the same functions differently in a file
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        both += [
            _alias(multiarray._reconstruct, module, '_reconstruct'),
            _alias(multiarray.scalar, module, 'scalar'),
        ]
    return [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        *dtypes,
        *both,
        _alias(_statistic, 'builtins', 'getattr'),
    ]


def use_safe_loading() -> None:
    """Make mmengine read every checkpoint as :func:`load_weights` does.

    Concerns ``load_from``, ``resume``, ``init_cfg=dict(type='Pretrained')`` and
    ``init_model`` of this process, from files and from addresses. mmengine itself
    first tries to read a file as data, and where that fails runs its code.
    """
    CheckpointLoader.register_scheme('', load_from_local, force=True)
    if hasattr(mm_checkpoint, '_safe_torch_load'):
        mm_checkpoint._safe_torch_load = _safe_torch_load
    if mm_checkpoint.load_url is not _load_url:
        _load_url.original = mm_checkpoint.load_url
        mm_checkpoint.load_url = _load_url


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """mmengine's loader of local files; its log names a loader by what follows ``load_from_``."""
    return load_weights(filename, map_location)


def _safe_torch_load(file: Any, map_location: Any = None, weights_only: bool = True) -> Any:
    return _read(file, str(getattr(file, 'name', file)), map_location)


def _load_url(url: str, *args, **kwargs) -> Any:
    with _readable(url), _allowed():
        return _load_url.original(url, *args, weights_only=True, **kwargs)


def _read(file: Any, name: str, map_location: Any) -> Any:
    with _readable(name), _allowed():
        return torch.load(file, map_location=map_location, weights_only=True)


def _allowed() -> AbstractContextManager:
    """The list above in force; what a program itself has allowed stays allowed."""
    if hasattr(torch.serialization, 'safe_globals'):
        return torch.serialization.safe_globals(allowed_globals())
    torch.serialization.add_safe_globals(allowed_globals())  # torch 2.4 knows no scope
    return nullcontext()


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn torch's errors about a file into one that names the file and the fix."""
    try:
        yield
    except UnpicklingError as error:
        foreign = re.search(r'GLOBAL `?([\w.]+)|class `?([\w.]+)|type ([\w.]+)', str(error))
        if foreign is None:
            raise _unreadable(name, error) from None
        what = next(filter(None, foreign.groups()))
        raise ValueError(
            f'checkpoint {name} holds {what}, which is not data: reading it could run code, so '
            'it was not read. If you trust its source, convert it once: '
            'torch.save(torch.load(path, weights_only=False)["state_dict"], new_path)'
        ) from None
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> ValueError:
    reason = str(error).strip().splitlines()
    return ValueError(
        f'checkpoint {name} cannot be read: it is cut short or no file of '
        f'torch.save; copy or download it again ({reason[0] if reason else error!r})'
    )


def _alias(function: Callable, module: str, name: str) -> Callable:
    """A function that torch knows under another name; works in every version from 2.4."""

    def call(*args):
        return function(*args)

    call.__module__, call.__name__, call.__qualname__ = module, name, name
    return call


def _statistic(owner: Any, name: str | None = None) -> Callable:
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current', 'statistics'):
        return getattr(HistoryBuffer, name)
    raise UnpicklingError(f'Unsupported GLOBAL getattr of {owner!r}, {name!r}')
