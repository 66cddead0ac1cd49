"""Read files of weights and checkpoints as data; see the package's docstring."""

import argparse
import functools
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mm_checkpoint
from torch import Tensor

from orl_mm.io.checksum import has_checksum

from .arrays import read_npy, read_pickle

try:
    from numpy._core import multiarray  # numpy 2
except ImportError:
    from numpy.core import multiarray  # type: ignore[no-redef]  # numpy 1

# torch.save before 1.6 begins with this number, pickled.
_OLD_TORCH = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)[2:-1]
# Where training scripts keep the weights, the first that a file has.
WRAPPERS = ('state_dict', 'model', 'model_state_dict', 'net', 'state_dict_ema', 'model_ema')


def load_weights(path: str | Path, map_location: Any = 'cpu') -> Any:
    """Read a checkpoint or a file of weights: of torch, safetensors, numpy or detectron2.

    Args:
        path (str or Path): The content decides how it is read, not the suffix.
        map_location: See ``torch.load``.

    Returns:
        What was saved: usually nested dicts of tensors or numpy arrays.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or names a class or function that is not data, of
            which nothing has run.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint {path}')
    with open(path, 'rb') as file:
        head = file.read(64)
    if head.startswith(b'\x93NUMPY'):
        return read_npy(path)
    if head[8:9] == b'{':  # after the length of the header
        return _read_safetensors(path, map_location)
    if head.startswith(b'\x80') and _OLD_TORCH not in head:
        return read_pickle(path)
    return _torch_load(path, str(path), map_location)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of any file of weights; see :func:`named_tensors`.

    Raises:
        FileNotFoundError, ValueError: See :func:`load_weights`; or it holds no tensors.
    """
    return named_tensors(load_weights(path), str(path))


def named_tensors(content: Any, where: str) -> dict[str, Tensor]:
    """Unwrap what a file holds.

    Args:
        content: Names and tensors, directly or, nested at will, under one of
            :data:`WRAPPERS` or under ``teacher`` and ``student``, which come before the
            names then; or Haiku's dicts, see :func:`read_haiku`.
        where (str): The file's name, for messages.

    Returns:
        dict: Names without the ``module.`` of DistributedDataParallel (and the
        ``_orig_mod.`` of ``torch.compile``) in front, and tensors.

    Raises:
        ValueError: There are none.
    """
    tensors = read_haiku(content) or _unwrap(content)
    if not tensors:
        inside = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f'{where} holds no names and tensors under {", ".join(WRAPPERS)}, teacher or directly, '
            f'but {inside}'
        )
    return tensors


def _unwrap(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, dict):
        return {}
    for key in WRAPPERS:
        found = _unwrap(content.get(key))
        if found:
            return found
    networks = {key: _unwrap(content.get(key)) for key in ('student', 'teacher')}
    if any(networks.values()):
        return {f'{key}.{name}': v for key, found in networks.items() for name, v in found.items()}
    return {
        re.sub(r'^((module|_orig_mod)\.)+', '', str(name)): _tensor(value)
        for name, value in content.items()
        if isinstance(value, (Tensor, np.ndarray, np.generic)) and _is_numeric(value)
    }


def read_haiku(content: Any) -> dict[str, Tensor]:
    """DetCon's nested dicts as tensors named ``res_net50/~/block_group_0/~/block_0/~/conv_0/w``.

    ``hk.Params`` map a module's name to its arrays, ``hk.State`` the names of its moving
    averages. Files hold both side by side, plain or in pairs for an online and a target
    network (``online_params``, ``online_state``); a network's parameters and state are
    returned under one name, behind ``online/`` or ``target/`` then. Convolutions are turned
    from (h, w, in, out) to PyTorch's (out, in, h, w), norms from (1, 1, 1, C) to (C,).

    Returns:
        dict: Empty if no ResNet of Haiku is in it.

    Raises:
        ValueError: It is a ResNet v2, whose blocks begin with their norms, or two tensors
            have one name.

    Source: ``utils/networks.py`` of github.com/deepmind/detcon; Haiku's ``nets/resnet.py``,
    ``batch_norm.py``, ``moving_averages.py``.
    """
    leaves = list(_leaves(content, ()))
    names = [name for name, _ in leaves]
    if not any(name.endswith('initial_conv/w') for name in names):
        return {}
    if any(name.endswith('final_batchnorm/scale') for name in names):
        raise ValueError(
            'it is a ResNet v2, whose blocks begin with norm and ReLU; OpenMMLab, torchvision '
            'and detectron2 have none'
        )
    if len(set(names)) < len(names):
        raise ValueError(f'it holds two tensors for {max(names, key=names.count)}')
    weights = {}
    for name, array in leaves:
        tensor = _tensor(array)
        if tensor.ndim == 4:
            tensor = tensor.permute(3, 2, 0, 1) if name.endswith('/w') else tensor.flatten()
        weights[name] = tensor.contiguous()
    return weights


def _leaves(content: Any, path: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(content, dict):
        for key, value in content.items():
            # `params` and `state` belong to one network, `online_params` to the online one.
            part = re.sub('_?(params|state)$', '', str(key))
            if part != 'opt':  # the optimizer's momenta have the parameters' names
                yield from _leaves(value, (*path, part) if part else path)
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from _leaves(value, path)
    elif isinstance(content, np.ndarray) and _is_numeric(content):
        yield '/'.join(path), content


def _is_numeric(value: Any) -> bool:
    return isinstance(value, Tensor) or value.dtype.kind in 'biuf'


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    return torch.from_numpy(np.array(value, value.dtype.newbyteorder('=')))


def _read_safetensors(path: Path, map_location: Any) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ValueError(f'{path} is a safetensors file: pip install safetensors') from error
    with _readable(str(path)):
        return load_file(path, device=str(map_location or 'cpu'))


def use_safe_loading() -> None:
    """Make mmengine read every checkpoint as :func:`load_weights` does, in this process.

    Concerns ``load_from``, ``resume``, ``init_cfg=dict(type='Pretrained')`` and
    ``init_model``, from files and from addresses. mmengine itself first reads a file as
    data and, where that fails, runs its code. For tools; ``import orl_mm`` changes nothing.
    """
    mm_checkpoint._safe_torch_load = _instead_of_torch_load
    if not hasattr(mm_checkpoint.load_url, 'original'):
        load_url = mm_checkpoint.load_url

        @functools.wraps(load_url)
        def load_url_as_data(url: str, *args: Any, **kwargs: Any) -> Any:
            with _readable(url), torch.serialization.safe_globals(allowed_globals()):
                return load_url(url, *args, weights_only=True, **kwargs)

        load_url_as_data.original = load_url  # type: ignore[attr-defined]  # marks the patch
        mm_checkpoint.load_url = load_url_as_data


def _instead_of_torch_load(file: Any, map_location: Any = None, weights_only: bool = True) -> Any:
    if isinstance(file, (str, Path)):
        return load_weights(file, map_location)
    return _torch_load(file, str(getattr(file, 'name', file)), map_location)


def _torch_load(file: Any, name: str, map_location: Any) -> Any:
    with _readable(name), torch.serialization.safe_globals(allowed_globals()):
        check_intact(file)
        return torch.load(file, map_location=map_location, weights_only=True)


def check_intact(file: str | Path | BinaryIO) -> None:
    """Compare a checkpoint with its checksum, or its records with theirs as torch does not.

    Takes a second per 1 to 2 GB. Files of torch before 1.6 are no zip and have no checksums.

    Raises:
        ValueError, zipfile.BadZipFile: A record was altered, or the file is cut.
    """
    with open(file, 'rb') if isinstance(file, (str, Path)) else nullcontext(file) as opened:
        if not has_checksum(opened) and opened.read(2) == b'PK':
            with zipfile.ZipFile(opened) as archive:
                damaged = archive.testzip()
            if damaged:
                raise ValueError(f'the checksum of its record {damaged} is wrong')
        opened.seek(0)


def allowed_globals() -> list[Callable | tuple[Callable, str]]:
    """What checkpoints hold beyond tensors and plain containers.

    A ``HistoryBuffer`` pickles two numpy arrays and the names of its statistics as
    ``getattr(HistoryBuffer, 'mean')``; a function that returns only these stands in for
    ``getattr``.
    """
    types = ('float64', 'float32', 'int64', 'int32', 'uint8', 'bool')
    functions = {'_reconstruct': multiarray._reconstruct, 'scalar': multiarray.scalar}
    return [
        argparse.Namespace,
        HistoryBuffer,
        (_statistic, 'builtins.getattr'),
        np.ndarray,
        np.dtype,
        *{type(np.dtype(name)) for name in types},
        # numpy 1 and numpy 2 write different names.
        *(
            (function, f'{module}.multiarray.{name}')
            for module in ('numpy.core', 'numpy._core')
            for name, function in functions.items()
        ),
    ]


def _statistic(owner: Any, name: str) -> Callable:
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current', 'statistics'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f'Unsupported GLOBAL getattr of {owner!r}, {name!r}')


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn a reader's errors into one that names the file and the fix."""
    try:
        yield
    except pickle.UnpicklingError as error:
        foreign = re.search(r'GLOBAL `?([\w.]+)|class `?([\w.]+)|type ([\w.]+)', str(error))
        if foreign is None:
            raise _unreadable(name, error) from None
        what = next(filter(None, foreign.groups()))
        raise ValueError(
            f'checkpoint {name} holds {what}, which is not data: reading it could run code, so '
            'it was not read. If you trust its source, convert it once: '
            'torch.save(torch.load(path, weights_only=False)["state_dict"], new_path)'
        ) from None
    except FileNotFoundError:
        raise
    except Exception as error:  # torch, zip, safetensors and the network raise many types
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> ValueError:
    reason = str(error).strip().splitlines()
    return ValueError(
        f'checkpoint {name} cannot be read: it is damaged, cut short or of another kind; copy or '
        f'download it again ({reason[0] if reason else repr(error)})'
    )
