"""Worker processes that are killed, and workers whose main process is."""

import os
import signal
import time
from argparse import Namespace

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from orl_mm.engine.workers import execute
from orl_mm.errors import UserError
from orl_mm.map_cache.build import BuildJob
from orl_mm.superpixels.cache import PriorSpec

NAMES = [f'{i}.png' for i in range(4)]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Four images; a file `kill` kills a worker at one of them, a file `wait` keeps both busy."""
    make = PriorSpec.make

    def kill_or_wait(self, item, pixels):
        if (tmp_path / 'kill').exists() and item == '2.png':
            os.kill(os.getpid(), signal.SIGKILL)
        if (tmp_path / 'wait').exists():
            (tmp_path / f'pid_{os.getpid()}').touch()
            time.sleep(60)
        return make(self, item, pixels)

    for name in NAMES:
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / name)
    monkeypatch.setattr(PriorSpec, 'make', kill_or_wait)  # the workers are forked
    return BuildJob(PriorSpec('grid', {}, 16), str(tmp_path), str(tmp_path / 'out'))


def build(job):
    arguments = Namespace(workers=2, scheduler=None, chunk=1, overwrite=False)
    return execute(job, NAMES, len(NAMES), arguments)


def test_a_killed_worker_ends_in_one_line_and_the_same_call_continues(job, tmp_path):
    (tmp_path / 'kill').touch()
    with pytest.raises(UserError, match=r'a worker process was killed.*of 4.*same command'):
        build(job)
    (tmp_path / 'kill').unlink()
    counts = build(job)
    assert counts.total == 4
    assert counts.written >= 1


def gone(pids, seconds):
    """Whether all processes end within that time (a zombie has ended)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        states = []
        for pid in pids:
            try:
                with open(f'/proc/{pid}/stat') as file:
                    states.append(file.read().rsplit(')', 1)[1].split()[0])
            except FileNotFoundError:
                continue
        if all(state == 'Z' for state in states):
            return True
        time.sleep(0.05)
    return False


def killed(main, folder):
    """Process ids of the workers of ``main()``, whose process was killed once two had begun."""
    child = os.fork()
    if child == 0:
        try:
            main()
        finally:
            os._exit(1)
    deadline = time.monotonic() + 60
    while len(list(folder.glob('pid_*'))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return [int(path.name[4:]) for path in folder.glob('pid_*')]


@pytest.mark.skipif(not os.path.isdir('/proc'), reason='needs /proc')
def test_workers_end_when_the_main_process_is_killed(job, tmp_path):
    (tmp_path / 'wait').touch()
    pids = killed(lambda: build(job), tmp_path)
    assert len(pids) == 2
    assert gone(pids, 5)


class Slow(Dataset):
    def __init__(self, folder):
        self.folder = folder

    def __len__(self):
        return 100

    def __getitem__(self, index):
        (self.folder / f'pid_{os.getpid()}').touch()
        time.sleep(0.2)
        return index


@pytest.mark.skipif(not os.path.isdir('/proc'), reason='needs /proc')
def test_data_workers_end_when_the_main_process_is_killed(tmp_path):
    """torch's own watch, which looks every five seconds."""
    pids = killed(lambda: list(DataLoader(Slow(tmp_path), num_workers=2)), tmp_path)
    assert len(pids) == 2
    assert gone(pids, 15)
