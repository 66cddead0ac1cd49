"""Read pickles of numpy arrays in plain containers, without running what else they name.

Two kinds of published files need this, since torch's ``weights_only`` does not read them:
DetCon's ``.npy`` (dicts of Haiku's parameters, written by ``numpy.save``) and detectron2's
``.pkl`` (R2O, DetCon-PyTorch and the converters of MoCo and PixPro write such).

A list of numpy's allowed functions would not be enough: ``numpy.dtype.__setstate__`` believes
what a file says of a type, so that numpy follows bytes of the file as pointers. Types are
therefore made here from a checked code, and arrays from the file's bytes by such a type.
"""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from orl_mm.io.checksum import has_checksum


def read_pickle(path: str | Path) -> Any:
    """Read arrays, numbers, strings, lists, tuples and dicts.

    Raises:
        ValueError: The file names anything else, of which nothing has run, it is cut, or its
            checksum is wrong.
    """
    with open(path, 'rb') as file:
        try:
            has_checksum(file)
        except ValueError as error:
            raise _unreadable(path, error) from None
        return _load(file, path)


def read_npy(path: str | Path) -> Any:
    """Read containers of arrays that ``numpy.save`` wrote; see :func:`read_pickle`."""
    with open(path, 'rb') as file:
        try:
            version = np.lib.format.read_magic(file)
            dtype = _HEADERS[version](file)[2]
        except (ValueError, KeyError, SyntaxError, EOFError) as error:
            raise _unreadable(path, error) from error
        if dtype != np.dtype(object):
            raise ValueError(f'{path} holds one array of {dtype}, not names and arrays')
        array = _load(file, path)
    if not isinstance(array, np.ndarray):
        raise ValueError(f'{path} holds no array behind the header of one')
    return array.tolist()


_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class _ForbiddenName(pickle.UnpicklingError):
    """A file names something that is neither an array nor a plain container."""


class _Unpickler(pickle.Unpickler):
    """Answers the few names that a file may have with methods of its own.

    Methods, because a pickle can set attributes of functions and of classes.
    """

    def find_class(self, module: str, name: str) -> str | Callable:
        module = re.sub(r'^numpy\.core\b', 'numpy._core', module)  # numpy 1 and numpy 2
        answers: dict[tuple[str, str], str | Callable] = {
            ('numpy', 'ndarray'): 'numpy.ndarray',  # passed to _reconstruct, never called
            ('numpy', 'dtype'): self._dtype,
            ('numpy._core.multiarray', '_reconstruct'): self._reconstruct,
            ('numpy._core.multiarray', 'scalar'): self._scalar,
            ('numpy._core.numeric', '_frombuffer'): self._frombuffer,
            ('collections', 'OrderedDict'): OrderedDict,
            # What older versions of Haiku keep parameters in.
            ('haiku._src.data_structures', 'FlatMapping'): dict,
            ('haiku._src.data_structures', 'frozendict'): dict,
        }
        if (module, name) not in answers:
            raise _ForbiddenName(f'{module}.{name}')
        return answers[module, name]

    def _dtype(self, code: Any, align: Any = False, copy: Any = True) -> '_DType':
        return _DType(code)

    def _reconstruct(self, *args: Any) -> '_Array':
        return _Array((0,), np.uint8)  # __setstate__ fills it

    def _scalar(self, dtype: '_DType', data: Any) -> Any:
        return self._frombuffer(data, dtype, (), 'C')[()]

    def _frombuffer(self, data: Any, dtype: '_DType', shape: Any, order: str) -> '_Array':
        array = self._reconstruct()
        array.__setstate__((1, shape, dtype, order == 'F', data))
        return array


class _DType:
    """The type of an array, of which only kind, size and byte order are taken from the file."""

    def __init__(self, code: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r'O8?|b1|[iuf][1248]', code):
            raise pickle.UnpicklingError(f'an array of type {code!r}')
        self.dtype = np.dtype(code[:1] if code[0] == 'O' else code)

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array whose type, shape and content are checked when the file gives them."""

    def __setstate__(self, state: tuple) -> None:  # type: ignore[override]  # state is untrusted
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _DType) or not isinstance(shape, tuple):
            raise pickle.UnpicklingError(f'an array of type {dtype!r} and shape {shape!r}')
        if not all(type(length) is int and length >= 0 for length in shape):
            raise pickle.UnpicklingError(f'an array of shape {shape!r}')
        data = bytes(data) if isinstance(data, bytearray) else data  # of protocol 5
        # numpy compares the number of bytes with the shape, but not the length of a list.
        is_object = dtype.dtype == object
        if not isinstance(data, list if is_object else bytes) or (
            is_object and len(data) != prod(shape)
        ):
            raise pickle.UnpicklingError(f'an array of {dtype.dtype}, shape {shape}, by other data')
        checked: Any = (1, shape, dtype.dtype, bool(fortran), data)
        super().__setstate__(checked)


def _load(file: BinaryIO, path: str | Path) -> Any:
    try:
        return _Unpickler(file).load()
    except _ForbiddenName as error:
        raise ValueError(
            f'{path} holds {error}, which is neither an array nor a plain container: reading '
            'it could run code, so it was not read'
        ) from None
    except (
        *(pickle.UnpicklingError, ValueError, TypeError, EOFError, KeyError, IndexError),
        *(AttributeError, OverflowError, MemoryError, RecursionError, ImportError),
    ) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: Exception) -> ValueError:
    return ValueError(
        f'{path} cannot be read as arrays in plain containers: it is cut short or of another '
        f'kind; copy or download it again ({str(error) or repr(error)})'
    )
