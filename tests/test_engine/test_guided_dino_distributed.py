"""DINO with guided attention in two processes is one process with the joined batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from orl_mm.engine.cpu_ddp import CPUDistributedDataParallel
from orl_mm.engine.hooks import AttentionRegHook

ROOT = Path(__file__).parents[2]
BATCH, STEPS = 4, 3


def train(rank, world):
    """Loss, terms, gradients, centre and teacher of a few steps on this rank's share."""
    from guided import Guided, build, dino  # beside this file, which runs as a script here

    model = build(dino())
    views, samples = Guided(local=2).batch(BATCH)
    mine = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    views, samples = [x[mine] for x in views], samples[mine]
    wrapped = CPUDistributedDataParallel(model) if world > 1 else model
    hook = AttentionRegHook(heads={2: 'left', 0: 'right'}, lambda1=1e-2, lambda2=5e-3)
    hook.before_train(SimpleNamespace(model=wrapped))
    hook.strengths = (1e-2, 5e-3, 0.1)
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer, losses, grads = torch.optim.SGD(params, lr=0.1), [], None
    for _ in range(STEPS):
        optimizer.zero_grad()
        terms = wrapped(views, samples, mode='loss')
        assert len(terms) == 4
        sum(terms.values()).backward()
        values = torch.stack([terms[name].detach() for name in sorted(terms)])
        if world > 1:
            dist.all_reduce(values)
        losses.append(values / world)
        grads = grads or [p.grad.clone() for p in params]
        optimizer.step()
        model.update_target(0.9)
    return dict(
        losses=torch.stack(losses),
        grads=grads,
        center=model.criterion.center,
        teacher=[p.clone() for p in model.teacher.parameters()],
    )


def launch(world, out):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    path = f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
    env = dict(
        os.environ,
        WORLD_SIZE=str(world),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        OMP_NUM_THREADS='1',
        PYTHONPATH=path,
    )
    jobs = [
        subprocess.Popen(
            [sys.executable, __file__, str(out)],
            env={**env, 'RANK': str(r)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in range(world)
    ]
    for job in jobs:
        _, error = job.communicate(timeout=240)
        assert job.returncode == 0, error[-3000:]
    return torch.load(out, weights_only=True)


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ranks')
    return launch(1, folder / 'one.pth'), launch(2, folder / 'two.pth')


@pytest.mark.parametrize('what', ['losses', 'grads', 'center', 'teacher'])
def test_two_processes_equal_the_joined_batch(runs, what):
    one, two = (run[what] for run in runs)
    one, two = ([x] if torch.is_tensor(x) else x for x in (one, two))
    for mine, joined in zip(two, one, strict=False):
        torch.testing.assert_close(mine, joined, atol=2e-6, rtol=1e-4)
    assert max(x.abs().max() for x in one) > 1e-3


if __name__ == '__main__':
    import orl_mm  # noqa: F401

    torch.set_num_threads(1)
    rank, world = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
    if world > 1:
        dist.init_process_group('gloo')
    result = train(rank, world)
    if rank == 0:
        torch.save(result, sys.argv[1])
