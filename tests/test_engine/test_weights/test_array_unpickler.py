"""What a foreign pickle may hold is read as it was written; whatever else it names never runs."""

import functools
import io
import os
import pickle
import pickletools
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch

from orl_mm.engine.weights.array_unpickler import read_npy, read_pickle

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
    flag=np.bool_(True),
)
PLAIN = dict(
    text='a',
    number=3,
    real=0.5,
    nothing=None,
    yes=True,
    raw=b'\xff\x00',
    items=[1, [2]],
    pair=(1, 'b'),
    unique={1, 2},
    fixed=frozenset('a'),
    ordered=OrderedDict(b=1, a=2),
    big=2**70,
)


def same(a, b):
    if isinstance(b, dict):
        assert type(a) is dict
        assert list(a) == list(b)
        for key in b:
            same(a[key], b[key])
    elif isinstance(b, (np.ndarray, np.generic)):
        assert isinstance(a, type(b))
        assert a.shape == b.shape
        assert a.dtype == b.dtype.newbyteorder('=')
        np.testing.assert_array_equal(a, b)
    else:
        assert type(a) is type(b)
        assert a == b


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_content_comes_back(protocol, tmp_path):
    content = dict(model=ARRAYS, other=PLAIN)
    (tmp_path / 'x.pkl').write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_pickle(tmp_path / 'x.pkl')
    same(found, content)
    found['model']['float32'] += 1  # not a view of the file's bytes


def test_arrays_by_other_numpys(tmp_path):
    """numpy 1 and 2 name the same function differently."""
    text = pickle.dumps(ARRAYS['float32'], protocol=3)
    texts = {
        text.replace(b'numpy._core', b'numpy.core'),
        text.replace(b'numpy.core', b'numpy._core'),
    }
    assert len(texts) == 2
    for text in texts:
        (tmp_path / 'x.pkl').write_bytes(text)
        same(read_pickle(tmp_path / 'x.pkl'), ARRAYS['float32'])


def test_python_2(tmp_path):
    """Its strings are bytes, its numpy's data such a string: cPickle.dumps(..., protocol=2)."""
    data = np.array([1, -2], '<f4').tobytes()
    pickled = (
        b'\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U'
        b'\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff'
        b'\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08' + data + b'tbs.'
    )
    (tmp_path / 'x.pkl').write_bytes(pickled)
    same(read_pickle(tmp_path / 'x.pkl'), dict(w=np.array([1, -2], np.float32)))


def test_npy(tmp_path):
    np.save(tmp_path / 'x.npy', dict(model=ARRAYS, other=PLAIN), allow_pickle=True)
    same(read_npy(tmp_path / 'x.npy'), dict(model=ARRAYS, other=PLAIN))
    pair = np.empty((2,), object)
    pair[:] = [ARRAYS, 'b']
    np.save(tmp_path / 'x.npy', pair, allow_pickle=True)
    same(dict(enumerate(read_npy(tmp_path / 'x.npy'))), {0: ARRAYS, 1: 'b'})


def test_haikus_mappings_are_dicts(tmp_path):
    """``hk.Params`` were FlatMapping and frozendict; Haiku is not needed to read them."""
    for name in ('FlatMapping', 'frozendict'):
        pickled = pickle.dumps(OrderedDict(w=ARRAYS['half']), protocol=3).replace(
            b'ccollections\nOrderedDict\n', f'chaiku._src.data_structures\n{name}\n'.encode()
        )
        (tmp_path / 'x.pkl').write_bytes(pickled)
        same(read_pickle(tmp_path / 'x.pkl'), dict(w=ARRAYS['half']))


def test_shared_and_circular_parts(tmp_path):
    shared = [1]
    circle = dict(a=shared, b=shared)
    circle['self'] = circle
    for _ in range(100):  # 2^100 parts, were they copied
        shared = [shared, shared]
    (tmp_path / 'x.pkl').write_bytes(pickle.dumps(dict(circle=circle, many=shared)))
    found = read_pickle(tmp_path / 'x.pkl')
    assert found['circle']['a'] is found['circle']['b']
    assert found['circle']['self'] is found['circle']


# Files that would make a folder.


class Call:
    """Pickled as a call; ``then`` is handed to the result as its state."""

    def __init__(self, function, *args, then=None):
        self.parts = (function, args, then) if then is not None else (function, args)

    def __reduce__(self):
        return self.parts


def _mkdir(folder):
    return f'__import__("os").mkdir({str(folder)!r})'


def _opcodes(*parts):
    return b'\x80\x04' + b''.join(parts) + b'.'


def _text(string):
    return b'\x8c' + bytes([len(string)]) + string.encode()


def _stack_global(module, name):
    return _text(module) + _text(name) + b'\x93'


def object_array(*items):
    array = np.empty(len(items), object)
    array[:] = items
    return array


LIVE = {
    'os.mkdir': lambda to: pickle.dumps(Call(os.mkdir, str(to))),
    'os.system': lambda to: pickle.dumps(Call(os.system, f'mkdir {to}')),
    'subprocess': lambda to: pickle.dumps(Call(subprocess.check_call, ['mkdir', str(to)])),
    'eval': lambda to: pickle.dumps(Call(eval, _mkdir(to))),
    'exec, protocol 0': lambda to: pickle.dumps(Call(exec, _mkdir(to)), protocol=0),
    'in a list of an array': lambda to: pickle.dumps(
        dict(model=dict(w=object_array(np.zeros(2), [Call(os.mkdir, str(to))])))
    ),
    'in a shape': lambda to: pickle.dumps(Call(np.zeros, Call(eval, f'({_mkdir(to)}, 2)[1]'))),
    'as a key': lambda to: pickle.dumps({Call(eval, f'({_mkdir(to)}, "a")[1]'): 1}),
    'getattr of __import__': lambda to: _opcodes(
        _stack_global('builtins', 'getattr'),
        _stack_global('builtins', '__import__'),
        _text('os'),
        b'\x85R',
        _text('mkdir'),
        b'\x86R',
        _text(str(to)),
        b'\x85R',
    ),
    # Protocol 4 looks names up through dots: any module that a listed one has imported.
    'dots': lambda to: _opcodes(
        _stack_global('numpy.lib._datasource', 'os.mkdir'), _text(str(to)), b'\x85R'
    ),
    'INST': lambda to: b'(S' + repr(str(to)).encode() + b'\nios\nmkdir\n.',
    'OBJ': lambda to: (
        b'\x80\x02(cos\nmkdir\nX' + len(str(to)).to_bytes(4, 'little') + str(to).encode() + b'o.'
    ),
    'numpy runs strings': lambda to: pickle.dumps(
        Call(np.testing._private.utils.runstring, _mkdir(to), {})
    ),
    'numpy loads pickles': lambda to: pickle.dumps(
        Call(np.load, _file(to, Call(os.mkdir, str(to))), None, True)
    ),
    'pickle in a pickle': lambda to: pickle.dumps(
        Call(pickle.loads, pickle.dumps(Call(os.mkdir, str(to))))
    ),
    'torch loads storages': lambda to: pickle.dumps(
        Call(torch.storage._load_from_bytes, _torch_bytes(to))
    ),
    'partial': lambda to: pickle.dumps(Call(functools.partial(os.mkdir, str(to)))),
}


def _file(to, content):
    path = to.with_name('inner.npy')
    array = np.empty((), object)
    array[()] = content
    np.save(path, array, allow_pickle=True)
    return str(path)


def _torch_bytes(to):
    buffer = io.BytesIO()
    torch.save(Call(os.mkdir, str(to)), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize('kind', LIVE)
def test_the_trap_works(kind, tmp_path):
    """pickle itself is caught by each of them: the next test tests something."""
    pickled = LIVE[kind](tmp_path / 'ran')
    try:
        pickle.loads(pickled)
    except Exception:  # what comes after the folder was made
        pass
    assert (tmp_path / 'ran').is_dir()


@pytest.mark.parametrize('suffix', ['pkl', 'npy'])
@pytest.mark.parametrize('kind', LIVE)
def test_code_is_refused_and_not_run(kind, suffix, tmp_path):
    pickled = LIVE[kind](tmp_path / 'ran')
    path = tmp_path / f'x.{suffix}'
    if suffix == 'npy':
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, dict(descr='|O', fortran_order=False, shape=())
        )
        pickled = header.getvalue() + pickled
    path.write_bytes(pickled)
    read = read_npy if suffix == 'npy' else read_pickle
    with pytest.raises(ValueError, match='was not read|cannot be read'):
        read(path)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize(
    ('value', 'name'),
    [
        (os.system, 'posix.system'),
        (eval, 'builtins.eval'),
        (getattr, 'builtins.getattr'),
        (torch.zeros(2), 'torch._utils._rebuild_tensor_v2'),
        (np.zeros(2).dtype.type, 'numpy.float64'),
        (np.ma.masked_array([1.0]), 'numpy.ma'),
        (range(3), 'builtins.range'),
        (np.random.default_rng(0), 'numpy.random'),
        (bytearray(b'a'), 'builtins.bytearray'),
    ],
)
def test_the_message_names_it(value, name, tmp_path):
    (tmp_path / 'x.pkl').write_bytes(pickle.dumps(dict(a=value), protocol=4))
    with pytest.raises(ValueError, match=f'x.pkl holds {name}.*could run code.*not read'):
        read_pickle(tmp_path / 'x.pkl')


# Files that mislead numpy's C code: an allow-list of numpy's own functions would run into them.


def _array(typed, shape, data, flags=0, order='<'):
    """An array as numpy pickles it, by hand."""
    dtype = Call(np.dtype, typed, False, True, then=(3, order, None, None, None, -1, -1, flags))
    return Call(
        np.zeros(0).__reduce__()[0], np.ndarray, (0,), b'b', then=(1, shape, dtype, False, data)
    )


POINTERS = pickle.dumps(_array('O8', (1,), b'ABCDEFGH', order='|'))


def test_numpy_itself_follows_pointers_of_a_file():
    """With nothing but numpy's own three names in it, a file makes numpy read anywhere."""
    code = f'import pickle\nprint(pickle.loads({POINTERS!r})[0])'
    ended = subprocess.run([sys.executable, '-c', code], capture_output=True)
    if ended.returncode >= 0:
        pytest.skip('this numpy checks')
    names = {str(arg) for op, arg, _ in pickletools.genops(POINTERS) if isinstance(arg, str)}
    assert names >= {'_reconstruct', 'ndarray', 'dtype'}
    assert 'system' not in names


@pytest.mark.parametrize(
    'pickled',
    [
        POINTERS,
        pickle.dumps(_array('f8', (1,), [1.5], flags=63)),
        pickle.dumps(_array('f4', (4,), b'too few')),
        pickle.dumps(_array('f4', (-1,), b'')),
        pickle.dumps(_array('f4', (2**62, 4), b'')),
        pickle.dumps(_array('f4', [1], b'abcd')),
        pickle.dumps(_array('V8', (1,), b'ABCDEFGH', order='|')),
        pickle.dumps(_array('i4,O8', (1,), b'A' * 12, order='|')),
        pickle.dumps(_array('O8', (2,), [1], order='|')),
        pickle.dumps(Call(np.zeros(0).__reduce__()[0], np.ndarray, (2**40,), b'b')),
        pickle.dumps(Call(np.zeros(0).__reduce__()[0], np.matrix, (0,), b'b')),
        pickle.dumps(Call(np.zeros(0).__reduce__()[0], np.ndarray, (0,), b'b')),
        pickle.dumps(Call(np.float32(1).__reduce__()[0], np.dtype('f4'), b'abc')),
        pickle.dumps(np.dtype('f4')),
        pickle.dumps(np.array(['2020-01-01'], 'M8[D]')),
        # Attributes of what is handed out are out of reach: here __setstate__ of an array's maker.
        _opcodes(
            _stack_global('numpy.core.multiarray', '_reconstruct'),
            b'N}',
            _text('__setstate__'),
            b'Ns\x86b',
        ),
        _opcodes(_stack_global('numpy', 'ndarray'), b'N}', _text('x'), b'Ns\x86b'),
        _opcodes(_stack_global('_codecs', 'encode'), _text('a'), _text('rot13'), b'\x86R'),
        _opcodes(_stack_global('numpy', 'dtype')),
        b'\x80\x04\x8c',
        b'',
        b'\x80\x7f.',
    ],
)
def test_misleading_files_are_refused(pickled, tmp_path):
    (tmp_path / 'x.pkl').write_bytes(pickled)
    with pytest.raises(ValueError, match='x.pkl'):
        read_pickle(tmp_path / 'x.pkl')


@pytest.mark.parametrize('share', [0.0, 0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize('suffix', ['pkl', 'npy'])
def test_cut_files(share, suffix, tmp_path):
    path = tmp_path / f'x.{suffix}'
    content = dict(w=np.zeros(1000, np.float32), **PLAIN)
    if suffix == 'npy':
        np.save(path, content, allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(content))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=f'x.{suffix} cannot be read.*cut short'):
        (read_npy if suffix == 'npy' else read_pickle)(path)


def test_an_array_is_no_checkpoint(tmp_path):
    np.save(tmp_path / 'x.npy', np.zeros(3))
    with pytest.raises(ValueError, match='one array of float64'):
        read_npy(tmp_path / 'x.npy')
