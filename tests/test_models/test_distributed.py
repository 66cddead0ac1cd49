"""Two gloo processes compute what one process computes on the joined batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from orl_mm.models.utils import gather_rows
from tests.test_models import distributed_worker

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    out = tmp_path_factory.mktemp('ranks') / 'out.pth'
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    env = dict(
        os.environ,
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        OMP_NUM_THREADS='1',
        PYTHONPATH=f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}',
    )
    jobs = [
        subprocess.Popen(
            [sys.executable, distributed_worker.__file__, str(out)],
            env=dict(env, RANK=str(rank)),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for job in jobs:
        _, err = job.communicate(timeout=400)
        assert job.returncode == 0, err[-3000:]
    return torch.load(out, weights_only=True)


@pytest.mark.parametrize('case', [name for name in distributed_worker.CASES if name != 'knn'])
def test_two_processes_equal_the_joined_batch(runs, case):
    """Losses, gradients, moving average and queue, also if ranks hold unequal shares."""
    two, one = runs['together'][case], runs['joined'][case]
    torch.testing.assert_close(two['losses'], one['losses'], atol=1e-6, rtol=1e-5)
    strict = case.startswith('r2o')
    for key in ('grads', 'target'):
        for mine, joined in zip(two[key], one[key], strict=True):
            torch.testing.assert_close(
                mine, joined, atol=2e-6 if strict else 1e-5, rtol=1e-4 if strict else 1e-3
            )
    first, second = two['queues']  # those of both ranks
    assert torch.equal(first, second)
    torch.testing.assert_close(first, one['queues'][0], atol=1e-5, rtol=1e-4)
    assert any(g.abs().max() > 1e-4 for g in one['grads']) == ('empty job' not in case)
    assert (one['losses'].sum() > 0) == ('empty job' not in case)


def test_knn_of_two_processes(runs):
    """Neither holds all training images; each of its queries is compared with all, once."""
    two, one = runs['together']['knn'], runs['joined']['knn']
    assert two['sizes'] == [4, 3]  # fewer than k in each
    torch.testing.assert_close(two['scores'], one['scores'], atol=1e-6, rtol=1e-5)
    assert (one['scores'] > 0).sum() > len(one['scores'])


def test_counts_and_rows_must_agree():
    with pytest.raises(ValueError, match='3 rows, counts says 2'):
        gather_rows(torch.zeros(3, 6), [2])
