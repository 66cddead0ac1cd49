"""Position in training, in loops by epoch and by iteration, for any number of processes."""

import math
from types import SimpleNamespace

import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import DataLoader

from orl_mm import progress
from tests.test_engine.tiny import TinyData, tiny_runner


def _runner(sampler, batch_size=2, length=9):
    data = TinyData(length)
    loader = DataLoader(data, batch_size=batch_size, sampler=sampler(data))
    return SimpleNamespace(train_dataloader=loader, train_loop=None, max_iters=23, iter=7)


@pytest.mark.parametrize('world', [1, 2])
def test_a_pass_over_the_data_is_shared_by_all_processes(monkeypatch, world):
    monkeypatch.setattr(progress, 'get_world_size', lambda: world)
    endless = _runner(InfiniteSampler)
    assert progress.epoch_length(endless) == math.ceil(9 / 2 / world)
    assert progress.total_epochs(endless) == math.ceil(23 / progress.epoch_length(endless))
    assert progress.iteration(endless, 0) == 7
    assert progress.epoch_length(_runner(DefaultSampler)) == 5  # the sampler has shared it out


def test_epochs_count_where_iterations_have_another_length(tmp_path):
    runner = tiny_runner(tmp_path, epochs=3)
    loop = runner.build_train_loop(runner._train_loop)
    runner._train_loop = loop
    loop._epoch, loop._iter = 2, 999  # iterations of another number of processes
    assert progress.iteration(runner, 1) == 2 * 4 + 1
    assert [progress.epoch_at(runner, step) for step in (0, 3, 4, 11, 12, 500)] == [
        0,
        0,
        1,
        2,
        2,
        2,
    ]
