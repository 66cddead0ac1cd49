"""Files are read as data: contents come back equal, and code in them never runs."""

import argparse
import contextlib
import functools
import io
import os
import pickle
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mm_checkpoint
from mmengine.runner import load_checkpoint
from torch import nn

from orl_mm.weights import load_weights, read_tensors, use_safe_loading
from orl_mm.weights.files import WRAPPERS
from tests.test_engine.tiny import tiny_runner

ARRAYS = dict(
    float32=np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7,
    scalar=np.float64(2.5),
    zero_d=np.array(7, np.int64),
    big_endian=np.array([1.5, -2.5], '>f4'),
    empty=np.zeros((3, 0)),
    fortran=np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
    half=np.array([1, 2], np.float16),
    byte=np.array([1, 255], np.uint8),
    truth=np.array([True, False]),
)
WEIGHTS = nn.Linear(3, 2).state_dict()


def write(path, content, kind='pickle', protocol=4):
    """A file of ``torch.save``, ``numpy.save`` or ``pickle.dump``."""
    if kind == 'torch':
        torch.save(content, path)
    elif kind == 'npy':
        with open(path, 'wb') as file:
            np.save(file, content, allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def same(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype.newbyteorder('=')
        np.testing.assert_array_equal(found[name], value)


# Plain pickles and .npy files of arrays.


@pytest.mark.parametrize('protocol', [3, 4, 5])
def test_arrays_come_back(protocol, tmp_path):
    content = dict(model=ARRAYS, text='a', pair=(1, [0.5, None]), ordered=OrderedDict(b=1, a=2))
    found = load_weights(write(tmp_path / 'x', content, protocol=protocol))
    same(found.pop('model'), ARRAYS)
    assert found == {key: value for key, value in content.items() if key != 'model'}
    same({name: tensor.numpy() for name, tensor in read_tensors(tmp_path / 'x').items()}, ARRAYS)


@pytest.mark.parametrize(
    ('module', 'other'),
    [
        (b'cnumpy._core.multiarray\n', b'cnumpy.core.multiarray\n'),  # as numpy 1 writes
        # Haiku's own mappings, which its older versions wrote; Haiku is not needed.
        (b'ccollections\nOrderedDict\n', b'chaiku._src.data_structures\nFlatMapping\n'),
        (b'ccollections\nOrderedDict\n', b'chaiku._src.data_structures\nfrozendict\n'),
    ],
)
def test_names_of_other_versions(module, other, tmp_path):
    pickled = pickle.dumps(OrderedDict(w=ARRAYS['half']), protocol=3)
    pickled = pickled.replace(b'cnumpy.core.multiarray\n', b'cnumpy._core.multiarray\n')
    assert module in pickled
    (tmp_path / 'x').write_bytes(pickled.replace(module, other))
    same(load_weights(tmp_path / 'x'), dict(w=ARRAYS['half']))


def test_npy(tmp_path):
    same(load_weights(write(tmp_path / 'x', ARRAYS, 'npy')), ARRAYS)
    pair = np.empty((2,), object)
    pair[:] = [ARRAYS, 'b']
    found = load_weights(write(tmp_path / 'x', pair, 'npy'))
    same(found[0], ARRAYS)
    assert found[1] == 'b'
    with pytest.raises(ValueError, match='one array of float64'):
        load_weights(write(tmp_path / 'x', np.zeros(3), 'npy'))


# Files that make a folder if anything in them runs.


class Call:
    """Pickled as a call; ``then`` is given to the result as its state."""

    def __init__(self, function, *args, then=None):
        self.parts = (function, args, then) if then is not None else (function, args)

    def __reduce__(self):
        return self.parts


def mkdir(folder):
    return f'__import__("os").mkdir({str(folder)!r})'


def opcodes(*parts):
    return b'\x80\x04' + b''.join(parts) + b'.'


def text(string):
    return b'\x8c' + bytes([len(string)]) + string.encode()


def stack_global(module, name):
    return text(module) + text(name) + b'\x93'


def torch_bytes(to):
    buffer = io.BytesIO()
    torch.save(Call(os.mkdir, str(to)), buffer)
    return buffer.getvalue()


LIVE = {
    'os.mkdir': lambda to: pickle.dumps(Call(os.mkdir, str(to))),
    'exec, protocol 0': lambda to: pickle.dumps(Call(exec, mkdir(to)), protocol=0),
    'in a shape': lambda to: pickle.dumps(Call(np.zeros, Call(eval, f'({mkdir(to)}, 2)[1]'))),
    'getattr of __import__': lambda to: opcodes(
        stack_global('builtins', 'getattr'),
        stack_global('builtins', '__import__'),
        text('os') + b'\x85R' + text('mkdir') + b'\x86R' + text(str(to)) + b'\x85R',
    ),
    # Protocol 4 looks names up through dots: any module that a listed one has imported.
    'dots': lambda to: opcodes(
        stack_global('numpy.lib._datasource', 'os.mkdir'), text(str(to)), b'\x85R'
    ),
    'INST': lambda to: b'(S' + repr(str(to)).encode() + b'\nios\nmkdir\n.',
    'numpy runs strings': lambda to: pickle.dumps(
        Call(np.testing._private.utils.runstring, mkdir(to), {})
    ),
    'torch loads storages': lambda to: pickle.dumps(
        Call(torch.storage._load_from_bytes, torch_bytes(to))
    ),
    'partial': lambda to: pickle.dumps(Call(functools.partial(os.mkdir, str(to)))),
}


@pytest.mark.parametrize('kind', LIVE)
def test_code_in_a_pickle_does_not_run(kind, tmp_path):
    """pickle itself runs each of them, so the missing folder shows that we did not."""
    trap = tmp_path / 'ran'
    pickled = LIVE[kind](trap)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, dict(descr='|O', fortran_order=False, shape=()))
    for content in (pickled, header.getvalue() + pickled):
        (tmp_path / 'x').write_bytes(content)
        with pytest.raises(ValueError, match='was not read|cannot be read'):
            load_weights(tmp_path / 'x')
        assert not trap.exists()
    with contextlib.suppress(Exception):  # raised after the folder was made
        pickle.loads(pickled)
    assert trap.is_dir()


def array(typed, shape, data, flags=0, order='<'):
    """An array as numpy pickles it, by hand."""
    dtype = Call(np.dtype, typed, False, True, then=(3, order, None, None, None, -1, -1, flags))
    make = np.zeros(0).__reduce__()[0]
    return pickle.dumps(Call(make, np.ndarray, (0,), b'b', then=(1, shape, dtype, False, data)))


POINTERS = array('O8', (1,), b'ABCDEFGH', order='|')


@pytest.mark.parametrize(
    'pickled',
    [
        POINTERS,
        array('f8', (1,), [1.5], flags=63),
        array('f4', (4,), b'too few'),
        array('f4', (-1,), b''),
        array('f4', (2**62, 4), b''),
        array('f4', [1], b'abcd'),
        array('V8', (1,), b'ABCDEFGH', order='|'),
        array('i4,O8', (1,), b'A' * 12, order='|'),
        array('O8', (2,), [1], order='|'),  # numpy would read past the list's end
        pickle.dumps(Call(np.float32(1).__reduce__()[0], np.dtype('f4'), b'abc')),
        pickle.dumps(np.array(['2020-01-01'], 'M8[D]')),
        # Attributes of what the unpickler hands out: __setstate__ of an array's maker.
        opcodes(
            stack_global('numpy.core.multiarray', '_reconstruct'),
            b'N}' + text('__setstate__') + b'Ns\x86b',
        ),
        opcodes(stack_global('numpy', 'ndarray'), b'N}' + text('x') + b'Ns\x86b'),
        b'\x80\x04\x8c',
        b'\x80\x7f.',
    ],
)
def test_misleading_pickles(pickled, tmp_path):
    (tmp_path / 'x.pkl').write_bytes(pickled)
    with pytest.raises(ValueError, match='x.pkl'):
        load_weights(tmp_path / 'x.pkl')


@pytest.mark.parametrize('share', [0.0, 0.02, 0.5, 0.98])
@pytest.mark.parametrize('kind', ['pickle', 'npy', 'torch'])
def test_cut_files(kind, share, tmp_path):
    path = write(tmp_path / 'x.pth', dict(w=np.zeros(1000, np.float32)), kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r'x\.pth cannot be read.*cut short'):
        load_weights(path)


def test_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        load_weights(tmp_path / 'nowhere.pth')
    (tmp_path / 'text.pth').write_text('<html>404</html>')
    with pytest.raises(ValueError, match='text.pth cannot be read'):
        load_weights(tmp_path / 'text.pth')


# Wrappers.


@pytest.mark.parametrize(
    'wrappers', [[], *([key] for key in WRAPPERS), ['state_dict', 'model'], ['model', 'net']]
)
@pytest.mark.parametrize('start', ['', 'module.', '_orig_mod.module.'])
def test_wrappers(wrappers, start, tmp_path):
    content = {start + name: value for name, value in WEIGHTS.items()}
    for key in reversed(wrappers):
        content = {'epoch': 3, key: content, 'args': argparse.Namespace(lr=1)}
    found = read_tensors(write(tmp_path / 'x', content, 'torch'))
    assert set(found) == set(WEIGHTS)
    assert all(torch.equal(found[name], value) for name, value in WEIGHTS.items())


def test_trained_weights_precede_their_average_and_configs_are_skipped(tmp_path):
    average = {name: value + 1 for name, value in WEIGHTS.items()}
    for key in ('state_dict', 'net'):
        content = dict(state_dict_ema=average, model=dict(depth=50), **{key: WEIGHTS})
        found = read_tensors(write(tmp_path / 'x', content, 'torch'))
        assert torch.equal(found['bias'], WEIGHTS['bias'])


@pytest.mark.parametrize('keys', [['teacher'], ['student', 'teacher']])
def test_teacher_and_student_keep_their_names(keys, tmp_path):
    content = {k: {f'module.{n}': v + i for n, v in WEIGHTS.items()} for i, k in enumerate(keys)}
    found = read_tensors(write(tmp_path / 'x', content, 'torch'))
    assert list(found) == [f'{key}.{name}' for key in keys for name in WEIGHTS]
    for i, key in enumerate(keys):
        assert torch.equal(found[f'{key}.bias'], WEIGHTS['bias'] + i)


@pytest.mark.parametrize(
    'content', [dict(epoch=3), [1, 2], torch.zeros(3), dict(state_dict=dict(a=1))]
)
def test_files_without_weights(content, tmp_path):
    inside = next(iter(content)) if isinstance(content, dict) else type(content).__name__
    with pytest.raises(ValueError, match=f'none.pth holds no names and tensors.*but.*{inside}'):
        read_tensors(write(tmp_path / 'none.pth', content, 'torch'))


def test_safetensors(tmp_path, monkeypatch):
    save_file = pytest.importorskip('safetensors.torch').save_file
    save_file(WEIGHTS, tmp_path / 'x.safetensors')
    found = read_tensors(tmp_path / 'x.safetensors')
    assert all(torch.equal(found[name], value) for name, value in WEIGHTS.items())
    monkeypatch.setitem(sys.modules, 'safetensors.torch', None)
    with pytest.raises(ValueError, match='pip install safetensors'):
        read_tensors(tmp_path / 'x.safetensors')


def test_old_torch_files(tmp_path):
    """Before torch 1.6 files were pickles, which torch itself reads."""
    torch.save(WEIGHTS, tmp_path / 'x', _use_new_zipfile_serialization=False)
    assert torch.equal(read_tensors(tmp_path / 'x')['bias'], WEIGHTS['bias'])


# Checkpoints of mmengine.


def test_mmengine_checkpoint_loads_equal_to_an_unrestricted_read(tmp_path):
    tiny_runner(tmp_path, epochs=1).train()
    ours = load_weights(tmp_path / 'epoch_1.pth')
    theirs = torch.load(tmp_path / 'epoch_1.pth', map_location='cpu', weights_only=False)
    assert sorted(ours) == sorted(theirs)
    for key, value in theirs['state_dict'].items():
        assert torch.equal(ours['state_dict'][key], value)
    scalars = ours['message_hub']['log_scalars']
    assert isinstance(scalars['train/loss'], HistoryBuffer)
    for key, history in theirs['message_hub']['log_scalars'].items():
        for a, b in zip(scalars[key].data, history.data, strict=True):
            np.testing.assert_array_equal(a, b)
        assert scalars[key].mean() == history.mean()


def test_history_by_numpy_1(tmp_path):
    """numpy 1 names its modules numpy.core, and so do files of old runs."""
    path, content = tmp_path / 'old.pth', dict(log=HistoryBuffer([1.0, 2.0], [1, 1]))
    torch.save(content, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b'cnumpy._core.multi', b'cnumpy.core.multi'))
    assert b'cnumpy.core.multiarray' in path.read_bytes()
    assert load_weights(path)['log'].mean() == 1.5


@pytest.fixture
def safe_loading(monkeypatch):
    """``use_safe_loading`` for one test."""
    for name in ('_safe_torch_load', 'load_url'):
        monkeypatch.setattr(mm_checkpoint, name, getattr(mm_checkpoint, name))
    use_safe_loading()


@pytest.fixture
def trap(tmp_path):
    """A checkpoint that makes a folder ``ran`` when it is unpickled."""
    path, call = tmp_path / 'x', Call(os.mkdir, str(tmp_path / 'ran'))
    yield write(path, dict(state_dict=WEIGHTS, extra=call), 'torch')
    assert not (tmp_path / 'ran').exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / 'ran').is_dir()


def test_code_in_a_checkpoint_does_not_run(trap, safe_loading, tmp_path):
    folder = str(tmp_path / 'cache')
    for read in (
        lambda: load_weights(trap),
        lambda: load_checkpoint(nn.Linear(3, 2), str(trap)),
        lambda: mm_checkpoint.load_url(trap.as_uri(), model_dir=folder, progress=False),
    ):
        with pytest.raises(ValueError, match=r'holds posix\.mkdir.*not read'):
            read()


@pytest.mark.parametrize(
    ('value', 'name'),
    [
        (eval, 'builtins.eval'),
        (torch.zeros(2), 'torch._utils._rebuild_tensor_v2'),
        (np.ma.masked_array([1.0]), 'numpy.ma'),
        (range(3), 'builtins.range'),
    ],
)
def test_the_message_names_what_is_not_data(value, name, tmp_path):
    with pytest.raises(ValueError, match=f'x.pkl holds {name}.*could run code.*not read'):
        load_weights(write(tmp_path / 'x.pkl', dict(a=value)))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (Call(getattr, HistoryBuffer, '__init__'), 'getattr'),  # only names of statistics
        (dict(state_dict={}, cfg=ConfigDict(a=1)), r'x\.pth holds .*ConfigDict.*convert'),
    ],
)
def test_objects_in_torch_files(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_weights(write(tmp_path / 'x.pth', content, 'torch'))


def test_resume_through_safe_loading_equals_the_unbroken_run(tmp_path, safe_loading):
    whole = tiny_runner(tmp_path / 'whole')
    whole.train()
    tiny_runner(tmp_path / 'broken', stop_after=2).train()
    path = tmp_path / 'broken/epoch_2.pth'
    rest = tiny_runner(tmp_path / 'rest', load_from=str(path), resume=True)
    rest.train()
    for key, value in whole.model.state_dict().items():
        assert torch.equal(rest.model.state_dict()[key], value), key
    content = torch.load(path, weights_only=False)
    content['message_hub']['runtime_info']['more'] = Call(os.mkdir, str(tmp_path / 'ran'))
    torch.save(content, path)
    with pytest.raises(ValueError, match='epoch_2.pth holds posix.mkdir'):
        tiny_runner(tmp_path / 'again', load_from=str(path), resume=True).train()
    assert not (tmp_path / 'ran').exists()


def test_safe_loading_has_no_side_effects(safe_loading, tmp_path):
    once = mm_checkpoint.load_url
    use_safe_loading()
    assert mm_checkpoint.load_url is once
    before = set(torch.serialization.get_safe_globals())
    load_weights(write(tmp_path / 'x', WEIGHTS, 'torch'))
    assert set(torch.serialization.get_safe_globals()) == before
