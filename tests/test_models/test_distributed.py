"""Two gloo processes are one with the joined batch, where no batch norm and no K-means is."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name('distributed_worker.py')
ROOT = WORKER.parents[2]


def launch(world: int, out: Path) -> dict:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    env = dict(
        os.environ,
        WORLD_SIZE=str(world),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        OMP_NUM_THREADS='1',
        PYTHONPATH=f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}',
    )
    jobs = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(out)],
            env={**env, 'RANK': str(r)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in range(world)
    ]
    for job in jobs:
        _, err = job.communicate(timeout=240)
        assert job.returncode == 0, err[-3000:]
    return torch.load(out, weights_only=True)


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ranks')
    return launch(1, folder / 'one.pth'), launch(2, folder / 'two.pth')


@pytest.mark.parametrize('average', ['image', 'region'])
@pytest.mark.parametrize('scenario', ['even', 'uneven', 'empty rank', 'empty job'])
def test_two_processes_equal_the_joined_batch(runs, scenario, average):
    """Losses, gradients and the moving average, also where ranks hold unequal shares."""
    one, two = (run[f'{scenario}, {average}'] for run in runs)
    torch.testing.assert_close(two['losses'], one['losses'], atol=1e-6, rtol=1e-5)
    for key in ('grads', 'target'):
        for mine, joined in zip(two[key], one[key], strict=False):
            torch.testing.assert_close(mine, joined, atol=2e-6, rtol=1e-4)
    moving = one['losses'][0] != one['losses'][1]
    assert bool(moving) == (scenario != 'empty job')
    assert any(g.abs().max() > 1e-4 for g in one['grads']) == (scenario != 'empty job')
