"""A run that ends at any moment of a save is resumed bit for bit."""

import errno
import logging
import os
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import checkpoint

from orl_mm.engine.hooks.durable_checkpoint_hook import DurableBackend
from orl_mm.engine.resume import choose_checkpoint, find_checkpoint
from orl_mm.errors import UserError
from orl_mm.weights import load_weights, use_safe_loading
from tests.ranks import run_ranks
from tests.small import same
from tests.test_engine.tiny import listen, tiny_runner

EPOCHS = 4
PARTS = ('state_dict', 'optimizer', 'param_schedulers')


def runner_of(folder, keep=1, epochs=EPOCHS, **options):
    checkpoint = dict(type='orl_mm.DurableCheckpointHook', max_keep_ckpts=keep)
    checkpoint.update(options.pop('checkpoint', {}))
    rate = dict(type='orl_mm.WarmupCosineLR', convert_to_iter_based=True)
    options.update(checkpoint=checkpoint, param_scheduler=rate)
    return tiny_runner(folder, epochs=epochs, lr=0.1, **options)


def resume(folder, **options):
    runner = runner_of(folder, resume=True, **options)
    messages = listen(runner)
    choose_checkpoint(runner)
    runner.train()
    return ' '.join(messages)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The unbroken run, of which every checkpoint is kept."""
    folder = tmp_path_factory.mktemp('whole')
    runner_of(folder, keep=-1).train()
    return folder


def equals(folder, whole, epoch=EPOCHS):
    files = [load_weights(path / f'epoch_{epoch}.pth') for path in (folder, whole)]
    for part in PARTS:
        same(files[0][part], files[1][part], part)
    losses = [file['message_hub']['log_scalars']['train/loss'].data[0] for file in files]
    same(*(loss[-4 * EPOCHS :].tolist() for loss in losses))


@contextmanager
def stopped_at(event, stop):
    """Call ``stop()`` at the n-th step of writing: half a write, a sync, a rename, a removal."""
    done = iter(range(1, 1_000_000))

    def count():
        if next(done) == event:
            stop()

    class Halved:
        def __init__(self, handle, mode):
            self.file = original['fdopen'](handle, mode)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, data):
            count()
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            count()
            self.file.write(data[len(data) // 2 :])

        def flush(self):
            self.file.flush()

    def counted(name):
        def function(*args, **kwargs):
            count()
            return original[name](*args, **kwargs)

        return function

    names = ('fdopen', 'fsync', 'replace', 'remove')
    original = {name: getattr(os, name) for name in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, 'fdopen', Halved)
        for name in names[1:]:
            patch.setattr(os, name, counted(name))
        yield done


class Stopped(BaseException):
    """Stands for a kill."""


def stop():
    raise Stopped


@pytest.mark.parametrize('event', [10, 12, 14, 15, 16, 18, 20])
def test_a_run_stopped_at_any_stage_of_a_save_is_resumed(event, whole, tmp_path):
    """Saving takes ten steps, of which five write ``last_checkpoint``; then the old one goes."""
    with pytest.raises(Stopped), stopped_at(event, stop):
        runner_of(tmp_path).train()
    names = {path.name for path in tmp_path.glob('*.pth')}
    assert names == {'epoch_1.pth', 'epoch_2.pth'} if event > 14 else names == {'epoch_1.pth'}
    resume(tmp_path)
    equals(tmp_path, whole)
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_4.pth']
    assert not list(tmp_path.glob('.*'))


@pytest.mark.slow
@pytest.mark.parametrize('kill', range(1, 51))
def test_fifty_kills(kill, whole, tmp_path):
    """SIGKILL at every stage of the saves of a run; at most 1, 2, 3 and all checkpoints kept."""
    keep = (1, 2, 3, -1)[kill % 4]
    child = os.fork()
    if child == 0:
        with stopped_at(kill % 40 + 1, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            runner_of(tmp_path, keep).train()
        os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    resume(tmp_path, keep=keep)
    equals(tmp_path, whole)
    kept = len(list(tmp_path.glob('*.pth')))
    assert kept == (EPOCHS if keep < 0 else keep)
    assert not list(tmp_path.glob('.*'))


def test_a_full_disk_keeps_the_last_checkpoint(whole, tmp_path):
    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    message = rf'{tmp_path}/epoch_2.pth cannot be written: No space left.*--resume'
    with pytest.raises(UserError, match=message), stopped_at(12, full):
        runner_of(tmp_path).train()
    assert sorted(path.name for path in tmp_path.glob('*pth')) == ['epoch_1.pth']
    assert not list(tmp_path.glob('.*'))
    resume(tmp_path)
    equals(tmp_path, whole)


def spoil(path, where=0.5):
    """Invert 16 bytes of a file."""
    data = bytearray(path.read_bytes())
    start = int(where * (len(data) - 16))
    data[start : start + 16] = bytes(byte ^ 255 for byte in data[start : start + 16])
    path.write_bytes(data)


def missing(folder):
    (folder / 'last_checkpoint').unlink()


def named(text):
    return lambda folder: (folder / 'last_checkpoint').write_bytes(text)


def moved(folder):
    shutil.copytree(folder, folder.parent / 'elsewhere')
    shutil.rmtree(folder)


def torn(folder):
    path = folder / 'epoch_2.pth'
    path.write_bytes(path.read_bytes()[:2000])


def altered(folder):
    """Another byte in a weight."""
    path = folder / 'epoch_2.pth'
    data, weight = path.read_bytes(), load_weights(path)['state_dict']['online.weight'].numpy()
    start = data.index(weight.tobytes())
    path.write_bytes(data[:start] + bytes([data[start] ^ 1]) + data[start + 1 :])


@pytest.mark.parametrize(
    ('damage', 'epoch', 'said'),
    [
        (missing, 2, 'epoch_2.pth'),
        (named(b''), 2, 'epoch_2.pth'),
        (named(b'/nowhere/epoch_9.pth'), 2, 'epoch_2.pth'),
        (named(b'\xff\x00\x80'), 2, 'epoch_2.pth'),
        (named(b'epoch_1.pth'), 2, 'epoch_2.pth'),
        (moved, 2, 'elsewhere/epoch_2.pth'),
        (torn, 1, 'epoch_2.pth: '),
        (altered, 1, 'epoch_2.pth: '),
    ],
)
def test_resume_finds_the_newest_whole_checkpoint(damage, epoch, said, whole, tmp_path):
    folder = tmp_path / 'run'
    runner_of(folder, keep=2, stop_after=2).train()
    damage(folder)
    folder = folder if folder.exists() else tmp_path / 'elsewhere'
    messages = resume(folder, keep=2)
    assert f'{folder}/epoch_{epoch}.pth, iteration {4 * epoch}' in messages
    assert said in messages
    equals(folder, whole)
    assert sorted(path.name for path in folder.glob('*.pth')) == ['epoch_3.pth', 'epoch_4.pth']


def test_none_whole_is_an_error_and_none_at_all_is_a_start(whole, tmp_path):
    runner_of(tmp_path, epochs=1).train()
    torch.save(dict(state_dict={}), tmp_path / 'pretrained.pth')  # of no run
    spoil(tmp_path / 'epoch_1.pth')
    with pytest.raises(UserError, match='epoch_1.pth: .*leave --resume out'):
        resume(tmp_path)
    (tmp_path / 'epoch_1.pth').unlink()
    assert 'starts at step 0' in resume(tmp_path)
    equals(tmp_path, whole)


def test_a_run_over_checkpoints_warns_and_deletes_only_its_own(tmp_path):
    runner_of(tmp_path, keep=-1, epochs=6).train()
    runner = runner_of(tmp_path, stop_after=3)
    messages = listen(runner)
    choose_checkpoint(runner)
    runner.train()
    assert 'holds checkpoints of an earlier run' in ' '.join(messages)
    left = sorted(path.name for path in tmp_path.glob('*.pth'))
    assert left == [f'epoch_{epoch}.pth' for epoch in (3, 4, 5, 6)]
    # The time of saving decides, not the number.
    assert find_checkpoint(tmp_path).newest == tmp_path / 'epoch_3.pth'


def test_resuming_from_another_folder_deletes_nothing_there_or_here(tmp_path):
    runner_of(tmp_path / 'a', keep=2, stop_after=2).train()
    runner_of(tmp_path / 'b', keep=-1, stop_after=2).train()
    first = str(tmp_path / 'a' / 'epoch_2.pth')
    runner_of(tmp_path / 'b', keep=1, resume=True, load_from=first).train()
    assert {path.name for path in tmp_path.glob('?/*.pth')} >= {'epoch_1.pth', 'epoch_2.pth'}
    assert len(list(tmp_path.glob('a/*.pth'))) == 2
    left = {path.name for path in tmp_path.glob('b/*.pth')}
    assert left == {'epoch_1.pth', 'epoch_2.pth', 'epoch_4.pth'}


def _chosen(folder, rank, world):
    """Rank 1 sees an empty folder, as where the work directory is not yet visible on its node."""
    runner = SimpleNamespace(
        work_dir=folder if rank == 0 else folder / 'nowhere',
        cfg={},
        logger=logging.getLogger('test'),
        _resume=True,
        _load_from=None,
    )
    choose_checkpoint(runner)
    return runner._load_from


def test_all_ranks_resume_from_what_rank_0_found(tmp_path):
    runner_of(tmp_path, epochs=1).train()
    assert run_ranks(_chosen, tmp_path) == [str(tmp_path / 'epoch_1.pth')] * 2


class Score(Hook):
    """Validate after each epoch, better each time."""

    def before_train_epoch(self, runner):
        (hook,) = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
        if runner.epoch:
            hook.after_val_epoch(runner, dict(acc=float(runner.epoch)))

    after_train = before_train_epoch


def test_the_best_checkpoint_is_replaced_after_the_new_one_is_written(tmp_path):
    options = dict(checkpoint=dict(save_best='acc'), hooks=[Score()])
    runner_of(tmp_path, epochs=1, **options).train()
    runner = runner_of(tmp_path, epochs=2, resume=True, **options)
    choose_checkpoint(runner)
    removed = []

    def remove(path):
        removed.append((Path(path).name, {file.name for file in tmp_path.glob('*.pth')}))
        os.unlink(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, 'remove', remove)
        runner.train()
    last, best = 'epoch_2.pth', 'best_acc_epoch_2.pth'
    assert removed[0] == ('epoch_1.pth', {'epoch_1.pth', 'best_acc_epoch_1.pth', last})
    assert removed[1] == ('best_acc_epoch_1.pth', {'best_acc_epoch_1.pth', last, best})
    assert {path.name for path in tmp_path.glob('*.pth')} == {last, best}


def test_best_checkpoints_of_another_run_are_kept(tmp_path):
    """A run that resumes from another folder does not take a file of the same name for its own."""
    options = dict(checkpoint=dict(save_best='acc'), hooks=[Score()])
    runner_of(tmp_path / 'a', epochs=1, **options).train()
    (tmp_path / 'b').mkdir()
    other = tmp_path / 'b/best_acc_epoch_1.pth'
    other.write_bytes(b'of another run')
    resumed = str(tmp_path / 'a/epoch_1.pth')
    runner_of(tmp_path / 'b', epochs=2, resume=True, load_from=resumed, **options).train()
    assert other.read_bytes() == b'of another run'
    assert (tmp_path / 'a/best_acc_epoch_1.pth').is_file()
    assert (tmp_path / 'b/best_acc_epoch_2.pth').is_file()


@pytest.mark.parametrize('sealed', [False, True])
def test_forty_altered_checkpoints_are_noticed(sealed, tmp_path, monkeypatch):
    """Also where mmengine reads them, for ``load_from``, ``resume`` and ``init_cfg``."""
    monkeypatch.setattr(checkpoint, '_safe_torch_load', None)
    monkeypatch.setattr(checkpoint, 'load_url', checkpoint.load_url)
    use_safe_loading()
    path = tmp_path / 'x.pth'
    state = dict(state_dict=dict(a=torch.randn(500, 100), b=torch.randn(300)))
    if sealed:  # as our hook writes: a small file of many records, mostly names and padding
        state = dict(state_dict={f'{i}': torch.randn(3) for i in range(40)})
    torch.save(state, path)
    data = path.read_bytes()
    if sealed:
        DurableBackend().put(data, path)
        data = path.read_bytes()
        same(torch.load(path, weights_only=True, mmap=True), state)
    for where in np.linspace(0, 0.99, 40):
        path.write_bytes(data)
        spoil(path, where)
        with pytest.raises(ValueError, match=r'x\.pth cannot be read'):
            load_weights(path)
        with pytest.raises(ValueError, match=r'x\.pth cannot be read'):
            checkpoint.load_checkpoint(torch.nn.Linear(1, 1), str(path))
