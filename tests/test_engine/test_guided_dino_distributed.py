"""DINO with guided attention in two processes is one process with the joined batch."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from orl_mm.engine.cpu_ddp import CPUDistributedDataParallel
from orl_mm.engine.hooks import AttentionRegHook
from tests.ranks import run_ranks

from .guided import Guided, build, dino

BATCH, STEPS = 4, 3


def train(rank, world):
    """Loss, terms, gradients, center and teacher of a few steps on this rank's share."""
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


@pytest.fixture(scope='module')
def runs():
    return train(0, 1), run_ranks(train)[0]


@pytest.mark.parametrize('what', ['losses', 'grads', 'center', 'teacher'])
def test_two_processes_equal_the_joined_batch(runs, what):
    one, two = (run[what] for run in runs)
    one, two = ([x] if torch.is_tensor(x) else x for x in (one, two))
    for mine, joined in zip(two, one, strict=True):
        torch.testing.assert_close(mine, joined, atol=2e-6, rtol=1e-4)
    assert max(x.abs().max() for x in one) > 1e-3
