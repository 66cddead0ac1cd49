"""One process of DetCon's distributed test: `python detcon_worker.py OUT`, RANK set.

Networks without batch norm; regions drawn from shares that belong to an image, not to a rank.
"""

import os
import sys
from unittest import mock

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from orl_mm.models.baselines.detcon_loss import DetConLoss
from orl_mm.structures import RegionBatch

from detcon_model import CODES, build, sample, some_vectors  # isort: skip  (beside this file)

NUM, DRAWS = 4, 16


def share_of(rank, world):
    return slice(rank * NUM // world, (rank + 1) * NUM // world)


def train(code, rank, world):
    """Two steps; what a rank drew depends on the images it holds alone."""
    model, mine = build(dict(type='GN', num_groups=2), **CODES[code]), share_of(rank, world)
    wrapped = DistributedDataParallel(model) if world > 1 else model
    online = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(online, lr=0.1)
    inputs, batch = sample(NUM)
    inputs = [x[mine] for x in inputs]
    batch = RegionBatch(batch.views[mine], batch.labels[mine], batch.counts[mine])
    generator, losses, grads = torch.Generator().manual_seed(0), [], None

    def shares(*args, **kwargs):
        return torch.randn(2, NUM, DRAWS, generator=generator).sigmoid()[:, mine].flatten(0, 1)

    for _ in range(2):
        optimizer.zero_grad()
        if code == 'reproduction':
            model.pending_momentum = 0.9
        with mock.patch('torch.rand', shares):
            loss = wrapped(inputs, batch, mode='loss')['loss']
        loss.backward()
        mean = loss.detach().clone()
        if world > 1:
            dist.all_reduce(mean)
        losses.append(mean / world)
        grads = grads or [p.grad.clone() for p in online]
        optimizer.step()
        if code == 'authors':
            model.update_target(0.9)
    return dict(
        losses=torch.stack(losses),
        grads=grads,
        target=[p.clone() for p in model.target.parameters()],
    )


def loss_alone(own, rank, world):
    """The loss on given vectors; gradients of all images, as training sees them."""
    predictions, targets, ids, others = (
        [t[share_of(rank, world)] for t in x] for x in some_vectors()
    )
    leaves = [p.clone().requires_grad_() for p in predictions]
    loss = DetConLoss(0.3)(leaves, targets, ids, others if own else None)
    loss.backward()
    loss, grads = loss.detach(), torch.cat([p.grad for p in leaves], 1)
    if world > 1:
        parts = [torch.empty_like(grads) for _ in range(world)]
        dist.all_gather(parts, grads)
        grads = torch.cat(parts) / world
        dist.all_reduce(loss)
    return dict(losses=loss / world, grads=[grads], target=[])


def everything(rank, world):
    return dict(
        {code: train(code, rank, world) for code in CODES},
        **{f'loss, own {own}': loss_alone(own, rank, world) for own in (False, True)},
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
