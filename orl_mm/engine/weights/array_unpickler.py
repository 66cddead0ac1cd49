"""Pickles of arrays and plain containers, read without running anything that they name."""

import pickle
import re
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

# What a file may name, and the method that answers. numpy 1 and 2 name the same functions
# differently; Haiku's mappings are what its old checkpoints keep their parameters in.
_ANSWERS: dict[tuple[str, str], str] = {
    ('numpy', 'dtype'): '_dtype',
    ('collections', 'OrderedDict'): '_mapping',
    ('haiku._src.data_structures', 'FlatMapping'): '_mapping',
    ('haiku._src.data_structures', 'frozendict'): '_mapping',
    # How protocols before 3 and 4 write bytes and sets.
    ('_codecs', 'encode'): '_encode',
    **{
        (module, name): f'_{name}'
        for module in ('builtins', '__builtin__')
        for name in ('bytes', 'set', 'frozenset')
    },
    **{
        (f'numpy.{core}.{module}', name): name
        for core in ('core', '_core')
        for module, name in (
            ('multiarray', '_reconstruct'),
            ('multiarray', 'scalar'),
            ('numeric', '_frombuffer'),
        )
    },
}
_NDARRAY = 'numpy.ndarray'  # a class that a file may pass on, never call
_SCALARS = (str, bytes, bytearray, bool, int, float, type(None), np.generic, np.ndarray)


def read_pickle(path: str | Path) -> Any:
    """Read a pickle of arrays, numbers, strings, lists, tuples, sets and dicts.

    Args:
        path (str or Path): Such as detectron2's ``.pkl``; Python 2's, too.

    Returns:
        What was pickled. Arrays are in native byte order; one of objects comes as what it
        holds (a 0-d one) or as a flat list.

    Raises:
        ValueError: The file names anything else, or is cut. Nothing of it has run then.
    """
    with open(path, 'rb') as file:
        return _load(file, str(path))


def read_npy(path: str | Path) -> Any:
    """Read what ``numpy.save`` made of containers of arrays, such as DetCon's ``.npy``.

    See :func:`read_pickle`; ``numpy.load(allow_pickle=True)`` would run code.
    """
    with open(path, 'rb') as file:
        try:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            _, _, dtype = read_header(file)
        except (ValueError, KeyError, SyntaxError, EOFError) as error:
            raise _unreadable(path, error) from error
        if dtype != np.dtype(object):
            raise ValueError(f'{path} holds one array of {dtype}, not names and arrays')
        return _load(file, str(path))


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler to which the names in a file mean methods of its own, and nothing else.

    An allow-list of numpy's functions alone would not do: ``dtype.__setstate__`` believes
    what a file says of a type, so that bytes of the file are followed as pointers. So arrays
    are built here from checked bytes, and numpy's own unpickling never runs. The methods
    are handed out bound: a pickle can set attributes of functions and classes, not of those.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding='latin1')  # as detectron2 reads files of Python 2

    def find_class(self, module: str, name: str) -> str | Callable:
        if (module, name) == ('numpy', 'ndarray'):
            return _NDARRAY
        if (module, name) not in _ANSWERS:
            raise ForbiddenName(f'{module}.{name}')
        return getattr(self, _ANSWERS[module, name])

    def _dtype(self, code: str, align: Any = False, copy: Any = True) -> '_DType':
        return _DType(code)

    def _reconstruct(self, *args: Any) -> '_Array':
        return _Array()  # its state says all that counts

    def _frombuffer(self, data: Any, dtype: '_DType', shape: Any, order: str) -> '_Array':
        array = _Array()
        array.__setstate__((1, shape, dtype, order == 'F', data))
        return array

    def scalar(self, dtype: '_DType', data: Any = b'') -> np.generic:
        return _build((), dtype, False, data)[()]

    def _mapping(self, items: Any = ()) -> '_Mapping':
        return _Mapping(items)

    def _encode(self, text: str, encoding: str = 'latin1') -> bytes:
        if encoding not in ('latin1', 'latin-1'):
            raise pickle.UnpicklingError(f'bytes encoded as {encoding!r}')
        return text.encode('latin1')

    def _bytes(self) -> bytes:
        return b''

    def _set(self, items: list) -> set:
        return set(items)

    def _frozenset(self, items: list) -> frozenset:
        return frozenset(items)


class ForbiddenName(pickle.UnpicklingError):
    """A file names something that is no array and no plain container."""


class _DType:
    """A type of numbers: what the file says of it beyond size and byte order is not used."""

    def __init__(self, code: Any) -> None:
        code = 'O' if code in ('O', 'O8', 'O4') else code
        if not isinstance(code, str) or not re.fullmatch(r'O|b1|[iuf][1248]', code):
            raise pickle.UnpicklingError(f'an array of type {code!r}')
        self.code = code

    def __setstate__(self, state: tuple) -> None:
        order = state[1]
        if order not in ('<', '>', '|', '='):
            raise pickle.UnpicklingError(f'an array of byte order {order!r}')
        self.code = self.code if self.code == 'O' else order + self.code.lstrip('<>|=')


class _Array:
    """An array that the file has begun to describe."""

    value: Any = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _build(shape, dtype, fortran, data)


class _Mapping(dict):
    """A dict whose attributes, such as a state dict's versions, are not taken."""

    def __setstate__(self, state: Any) -> None:
        pass


def _build(shape: Any, dtype: Any, fortran: Any, data: Any) -> Any:
    if (
        not isinstance(dtype, _DType)
        or not isinstance(shape, tuple)
        or not all(type(length) is int and length >= 0 for length in shape)
    ):
        raise pickle.UnpicklingError(f'an array of type {dtype!r}, shape {shape!r}')
    if dtype.code == 'O':
        if not isinstance(data, list) or len(data) != prod(shape):
            raise pickle.UnpicklingError('an array of objects with another number of them')
        return data if shape else data[0]
    data = data.encode('latin1') if isinstance(data, str) else data
    if not isinstance(data, (bytes, bytearray)):
        raise pickle.UnpicklingError(f'an array made of a {type(data).__name__}')
    kind = np.dtype(dtype.code)  # a number of bytes other than the shape's: ValueError
    array = np.frombuffer(data, kind).reshape(shape, order='F' if fortran else 'C')
    return np.array(array, kind.newbyteorder('='), order='C')


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """Containers and arrays proper; ``done`` keeps shared parts shared, and ends circles."""
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, _Array):
        if value.value is None:
            raise pickle.UnpicklingError('an array without content')
        return _plain(value.value, done)
    if isinstance(value, dict):
        done[id(value)] = out = {}
        for key, item in dict.items(value):
            if not isinstance(key, (str, bytes, int)):
                raise pickle.UnpicklingError(f'a dict with a key of {type(key).__name__}')
            out[key] = _plain(item, done)
    elif type(value) is list:
        done[id(value)] = out = []
        out.extend(_plain(item, done) for item in value)
    elif type(value) in (tuple, set, frozenset):
        done[id(value)] = out = type(value)([_plain(item, done) for item in value])
    elif isinstance(value, _SCALARS):
        out = value
    else:
        raise ForbiddenName(f'{type(value).__name__} as data')
    return out


def _load(file: BinaryIO, name: str) -> Any:
    try:
        return _plain(ArrayUnpickler(file).load(), {})
    except ForbiddenName as error:
        raise ValueError(
            f'{name} holds {error}, which is no array and no plain container: reading it could '
            'run code, so it was not read'
        ) from None
    # What a pickle can meet on its way: cut, or made to mislead.
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        MemoryError,
        RecursionError,
        ImportError,
    ) as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str | Path, error: Exception) -> ValueError:
    return ValueError(
        f'{name} cannot be read as arrays in plain containers: it is cut short or '
        f'of another kind; copy or download it again ({str(error) or error!r})'
    )
