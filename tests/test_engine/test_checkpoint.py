"""Checkpoints with code, cut ones, foreign ones; and mmengine's own, which must load."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mm_checkpoint
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from orl_mm.engine.checkpoint import load_weights, use_safe_loading

from .tiny import tiny_runner


@pytest.fixture
def safe_loading(monkeypatch):
    """``use_safe_loading`` for one test."""
    for name in ('_safe_torch_load', 'load_url'):
        monkeypatch.setattr(mm_checkpoint, name, getattr(mm_checkpoint, name))
    monkeypatch.setattr(CheckpointLoader, '_schemes', OrderedDict(CheckpointLoader._schemes))
    use_safe_loading()


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def _trap(tmp_path):
    path = tmp_path / 'trap.pth'
    torch.save(dict(state_dict=nn.Linear(2, 2).state_dict(), extra=Trap(tmp_path / 'ran')), path)
    return path


def test_the_trap_works(tmp_path):
    torch.load(_trap(tmp_path), weights_only=False)
    assert (tmp_path / 'ran').is_dir()


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    path = _trap(tmp_path)
    with pytest.raises(ValueError, match=r'trap\.pth holds posix\.mkdir.*not read'):
        load_weights(path)
    assert not (tmp_path / 'ran').exists()


def test_mmengine_no_longer_runs_code(tmp_path, safe_loading):
    path = _trap(tmp_path)
    with pytest.raises(ValueError, match='mkdir'):
        load_checkpoint(nn.Linear(2, 2), str(path))
    assert not (tmp_path / 'ran').exists()


def test_resume_with_code_is_refused(tmp_path, safe_loading):
    tiny_runner(tmp_path / 'a', epochs=1).train()
    path = tmp_path / 'a/epoch_1.pth'
    content = torch.load(path, weights_only=False)
    content['message_hub']['runtime_info']['more'] = Trap(tmp_path / 'ran')
    torch.save(content, path)
    with pytest.raises(ValueError, match='epoch_1.pth holds posix.mkdir'):
        tiny_runner(tmp_path / 'b', load_from=str(path), resume=True).train()
    assert not (tmp_path / 'ran').exists()


def test_getattr_reaches_nothing_but_the_statistics(tmp_path):
    """The allow-list holds a stand-in of getattr, not getattr."""

    class Reach:
        def __reduce__(self):
            return getattr, (HistoryBuffer, '__init__')

    path = tmp_path / 'reach.pth'
    torch.save(Reach(), path)
    with pytest.raises(ValueError, match='getattr'):
        load_weights(path)


def test_foreign_class_is_named_with_the_fix(tmp_path):
    path = tmp_path / 'foreign.pth'
    torch.save(dict(state_dict={}, cfg=ConfigDict(a=1)), path)
    with pytest.raises(ValueError, match=r'foreign\.pth holds .*ConfigDict.*convert'):
        load_weights(path)


@pytest.mark.parametrize('share', [0.0, 0.02, 0.5, 0.98])
@pytest.mark.parametrize('zipped', [True, False])
def test_cut_file(tmp_path, share, zipped):
    path = tmp_path / 'cut.pth'
    torch.save(
        dict(state_dict=nn.Linear(64, 64).state_dict()), path, _use_new_zipfile_serialization=zipped
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r'cut\.pth'):
        load_weights(path)


def test_no_checkpoint_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        load_weights(tmp_path / 'nowhere.pth')
    text = tmp_path / 'text.pth'
    text.write_text('<html>404</html>')
    with pytest.raises(ValueError, match='text.pth cannot be read'):
        load_weights(text)


def test_mmengine_checkpoint_loads_equal_to_an_unrestricted_read(tmp_path):
    tiny_runner(
        tmp_path,
        epochs=1,
        param_scheduler=dict(type='orl_mm.WarmupCosineLR', warmup=1, end=4, by_epoch=False),
    ).train()
    path = tmp_path / 'epoch_1.pth'
    ours = load_weights(path)
    theirs = torch.load(path, map_location='cpu', weights_only=False)
    assert sorted(ours) == sorted(theirs)
    for key, value in theirs['state_dict'].items():
        assert torch.equal(ours['state_dict'][key], value)
    scalars = ours['message_hub']['log_scalars']
    assert isinstance(scalars['train/loss'], HistoryBuffer)
    for key, history in theirs['message_hub']['log_scalars'].items():
        for a, b in zip(scalars[key].data, history.data, strict=False):
            np.testing.assert_array_equal(a, b)
        assert scalars[key].mean() == history.mean()
    assert ours['param_schedulers'] == theirs['param_schedulers']


def test_names_of_numpy_1_load(tmp_path):
    """numpy 1 called the module numpy.core; files of old runs say so."""
    path = tmp_path / 'old.pth'
    torch.save(
        dict(message_hub=dict(log=HistoryBuffer([1.0, 2.0], [1, 1]))),
        path,
        _use_new_zipfile_serialization=False,
    )
    content = path.read_bytes()
    if b'numpy._core.multiarray' in content:
        content = content.replace(b'cnumpy._core.multiarray', b'cnumpy.core.multiarray')
    path.write_bytes(content)
    assert b'cnumpy.core.multiarray' in content
    assert load_weights(path)['message_hub']['log'].mean() == 1.5


def test_resume_through_safe_loading_equals_the_unbroken_run(tmp_path, safe_loading):
    whole = tiny_runner(tmp_path / 'whole')
    whole.train()
    tiny_runner(tmp_path / 'broken', stop_after=2).train()
    rest = tiny_runner(
        tmp_path / 'rest', load_from=str(tmp_path / 'broken/epoch_2.pth'), resume=True
    )
    rest.train()
    for key, value in whole.model.state_dict().items():
        assert torch.equal(rest.model.state_dict()[key], value), key


def test_safe_loading_twice_is_safe_loading_once(tmp_path, safe_loading):
    use_safe_loading()
    path = tmp_path / 'fine.pth'
    torch.save(dict(state_dict=nn.Linear(2, 2).state_dict()), path)
    load_checkpoint(nn.Linear(2, 2), str(path))
    assert mm_checkpoint.load_url.original is not mm_checkpoint.load_url


def test_downloads_are_read_as_data_too(tmp_path, safe_loading):
    path = _trap(tmp_path)
    with pytest.raises(ValueError, match='mkdir'):
        mm_checkpoint.load_url(path.as_uri(), model_dir=str(tmp_path / 'cache'), progress=False)
    assert not (tmp_path / 'ran').exists()


def test_allow_list_is_left_as_it_was(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    path = tmp_path / 'fine.pth'
    torch.save(nn.Linear(2, 2).state_dict(), path)
    load_weights(path)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.save(HistoryBuffer([1.0], [1]), path)
        torch.load(path, weights_only=True)
