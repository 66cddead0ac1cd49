"""One process of VADeR's and InfoMin's distributed test: `python contrast_worker.py OUT`, RANK set.

Networks without batch norm; pixels drawn from scores that belong to an image, not to a rank.
"""

import os
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from orl_mm.structures import RegionBatch

# The folder of the tests, where a package of that name is installed, too.
sys.modules['tests'] = ModuleType('tests')
sys.modules['tests'].__path__ = [str(Path(__file__).parents[1])]
from tests.small_contrast import (  # noqa: E402, isort: skip
    GROUPS,
    infomin,
    two_views,
    vader,
    views_and_crops,
)

NUM, CELLS = 4, 16 * 16
NEAR = [[0, 0, 0.83, 0.91, 0], [0.11, 0.17, 1, 1, 1.0]]
CORNER = [[0, 0, 0.52, 0.53, 1.0], [0.46, 0.48, 1, 1, 0.0]]  # fewer pixels than are drawn
APART = [[0, 0, 0.25, 0.25, 0], [0.75, 0.75, 1, 1, 0.0]]
SCENARIOS = {
    'even': [NEAR, NEAR, NEAR, NEAR],
    'uneven': [NEAR, APART, CORNER, NEAR],
    'empty rank': [NEAR, CORNER, APART, APART],
    'empty job': [APART, APART, APART, APART],
}


def steps(model, batches, rank, world, draws=None):
    """Three steps; loss of all ranks, the first gradients, and the queue of every rank."""
    wrapped = DistributedDataParallel(model) if world > 1 else model
    online = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(online, lr=0.05)
    losses, grads = [], None
    for inputs, samples in batches:
        optimizer.zero_grad()
        with mock.patch('torch.rand', draws or torch.rand):
            loss = sum(wrapped(inputs, samples, mode='loss').values())
        loss.backward()
        mean = loss.detach().clone()
        if world > 1:
            dist.all_reduce(mean)
        losses.append(mean / world)
        grads = grads or [p.grad.clone() for p in online]
        optimizer.step()
        if hasattr(model, 'update_target'):
            model.update_target(0.9)
    target = model.target if hasattr(model, 'target') else model.encoder_k
    queue = model.queue.rows if hasattr(model.queue, 'rows') else model.queue
    queues = [queue.clone()]
    if world > 1:
        queues = [torch.empty_like(queue) for _ in range(world)]
        dist.all_gather(queues, queue.contiguous())
    return dict(
        losses=torch.stack(losses),
        grads=grads,
        queues=queues,
        target=[p.clone() for p in target.parameters()],
    )


def train_vader(scenario, rank, world):
    torch.manual_seed(0)
    model = vader(norm=GROUPS, num_pairs=20, queue_len=110)
    mine = slice(rank * NUM // world, (rank + 1) * NUM // world)
    generator, batches = torch.Generator().manual_seed(1), []
    for step in range(3):
        inputs, batch = two_views(SCENARIOS[scenario], seed=step)
        batches.append(([x[mine] for x in inputs], RegionBatch(batch.views[mine])))

    def draws(shape, **kwargs):
        return torch.empty(NUM, CELLS).uniform_(generator=generator)[mine]

    return steps(model, batches, rank, world, draws)


def train_infomin(rank, world):
    torch.manual_seed(rank)  # also what a rank draws for itself
    model = infomin(norm=GROUPS, queue_len=10)
    torch.manual_seed(0)
    for p in model.parameters():
        if p.requires_grad:
            torch.nn.init.normal_(p, std=0.1)
    model.queue.copy_(torch.nn.functional.normalize(torch.randn_like(model.queue), dim=0))
    mine = slice(rank * NUM // world, (rank + 1) * NUM // world)
    batches = [([x[mine] for x in views_and_crops(NUM, seed=step)], None) for step in range(3)]
    return steps(model, batches, rank, world)


def everything(rank, world):
    return dict(
        {f'vader, {name}': train_vader(name, rank, world) for name in SCENARIOS},
        infomin=train_infomin(rank, world),
    )


def main(out):
    """What two processes compute, and what this one computes of the joined batch."""
    torch.set_num_threads(1)
    rank, world = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
    dist.init_process_group('gloo')
    together = everything(rank, world)
    dist.destroy_process_group()
    if rank == 0:
        torch.save(dict(together=together, joined=everything(0, 1)), out)


if __name__ == '__main__':
    main(sys.argv[1])
