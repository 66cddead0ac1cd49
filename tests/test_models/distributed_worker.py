"""One process of the distributed tests: `python distributed_worker.py OUT`, RANK from the environment.

Every scenario trains a network without batch norm on given masks for two steps, on
this rank's half of the batch, and rank 0 saves what came out. With WORLD_SIZE=1
the joined batch is one process's.
"""

import os
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import orl_mm  # noqa: F401
from orl_mm.models import R2O
from orl_mm.structures import RegionBatch

NUM, SIDE = 4, 64
WHOLE = [[0, 0, 0.9, 0.9, 0], [0.1, 0.2, 1, 1, 1.0]]
APART = [[0, 0, 0.25, 0.25, 0], [0.75, 0.75, 1, 1, 0.0]]  # no superpixel in both views
SCENARIOS = {
    'even': [WHOLE, WHOLE, WHOLE, WHOLE],
    'uneven': [WHOLE, APART, WHOLE, WHOLE],
    'empty rank': [WHOLE, WHOLE, APART, APART],
    'empty job': [APART, APART, APART, APART],
}


def build(average: str, norm: dict) -> R2O:
    torch.manual_seed(0)

    def mlp(in_channels):
        return dict(
            type='orl_mm.RegionMLP',
            in_channels=in_channels,
            hid_channels=16,
            out_channels=8,
            with_bias=True,
            with_last_bn=False,
            with_last_bias=True,
            norm_cfg=norm,
        )

    model = R2O(
        backbone=dict(
            type='mmpretrain.ResNet',
            depth=18,
            base_channels=8,
            stem_channels=8,
            norm_cfg=norm,
            zero_init_residual=False,
        ),
        neck=dict(type='orl_mm.MaskPoolNeck', projector=mlp(64)),
        head=dict(
            type='orl_mm.RegionPredictHead',
            predictor=mlp(8),
            loss=dict(type='orl_mm.RegionCosineLoss', average=average),
        ),
        refiner=dict(type='orl_mm.KMeansRefiner', num_clusters=None, mask_size=16),
        grid=2,
    )
    torch.manual_seed(1)
    for p in [*model.backbone.parameters(), *model.neck.parameters(), *model.head.parameters()]:
        torch.nn.init.normal_(p, std=0.2) if p.dim() > 1 else None
    model.target.copy_from(model)
    return model.train()


def data(views: list) -> tuple:
    generator = torch.Generator().manual_seed(2)
    inputs = [torch.randn(NUM, 3, SIDE, SIDE, generator=generator) for _ in range(3)]
    cell = torch.arange(SIDE) * 4 // SIDE
    labels = (cell[:, None] * 4 + cell).expand(NUM, -1, -1).to(torch.uint8)
    return inputs, RegionBatch(torch.tensor(views), labels, [16] * NUM)


def share(inputs: list, batch: RegionBatch, rank: int, world: int) -> tuple:
    mine = slice(rank * NUM // world, (rank + 1) * NUM // world)
    return [x[mine] for x in inputs], RegionBatch(
        batch.views[mine], batch.labels[mine], batch.counts[mine]
    )


def train(views: list, average: str, rank: int, world: int, norm: dict) -> dict:
    model = build(average, norm)
    wrapped = DistributedDataParallel(model) if world > 1 else model
    online = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(online, lr=0.1)
    inputs, batch = share(*data(views), rank, world)
    losses, grads = [], None
    for _ in range(2):
        optimizer.zero_grad()
        loss = wrapped(inputs, batch, mode='loss')['loss']
        loss.backward()
        mean = loss.detach().clone()
        if world > 1:
            dist.all_reduce(mean)
        losses.append(mean / world)
        grads = grads or [p.grad.clone() for p in online]
        optimizer.step()
        model.update_target(0.9)
    return dict(
        losses=torch.stack(losses),
        grads=grads,
        target=[p.clone() for p in model.target.parameters()],
    )


def main(out: str) -> None:
    torch.set_num_threads(1)
    rank, world = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
    dist.init_process_group('gloo') if world > 1 else None
    results = {}
    for average in ('image', 'region'):
        for name, views in SCENARIOS.items():
            results[f'{name}, {average}'] = train(
                views, average, rank, world, dict(type='GN', num_groups=2)
            )
    if rank == 0:
        torch.save(results, out)


if __name__ == '__main__':
    main(sys.argv[1])
