"""One process of the k-NN test: `python knn_worker.py OUT`, RANK and WORLD_SIZE by environment.

Seven training images, an odd number, and four queries, half of them in each of two processes;
rank 0 saves the votes for all queries in their order.
"""

import os
import sys
from types import SimpleNamespace

import torch
import torch.distributed as dist
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

import orl_mm  # noqa: F401
from orl_mm.engine.hooks import FeatureBankHook
from orl_mm.registry import MODELS

TRAIN, QUERIES, SIDE, CLASSES = 7, 4, 32, 3


@DATASETS.register_module()
class Noise(Dataset):
    """Images of noise about a grey that tells the class."""

    def __init__(self, count, seed):
        draw = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(count) % CLASSES
        self.images = (
            60 * self.labels[:, None, None, None]
            + torch.randint(0, 90, (count, 3, SIDE, SIDE), generator=draw)
        ).to(torch.uint8)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return dict(
            inputs=self.images[index],
            data_samples=DataSample().set_gt_label(int(self.labels[index])),
        )


def probe(**options):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            dict(
                type='orl_mm.KNNProbe',
                num_classes=CLASSES,
                k=5,
                temperature=0.07,
                chunk=2,
                data_preprocessor=dict(mean=[127.0] * 3, std=[60.0] * 3),
                backbone=dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8),
            ),
            **options,
        )
    ).eval()


def fill(model, **options):
    """The bank through the hook, without a runner."""
    hook = FeatureBankHook(
        dict(batch_size=3, num_workers=0, dataset=dict(type='Noise', count=TRAIN, seed=0)),
        **options,
    )
    hook.before_test(
        SimpleNamespace(
            model=model,
            test_loop=SimpleNamespace(fp16=False),
            seed=0,
            build_dataloader=Runner.build_dataloader,
        )
    )


def main(out):
    rank, world = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
    dist.init_process_group('gloo')
    model = probe()
    fill(model)
    queries = Noise(QUERIES, 1)
    share = range(rank, QUERIES, world)
    batch = model.data_preprocessor(dict(inputs=queries.images[list(share)], data_samples=None))
    scores = torch.stack([sample.pred_score for sample in model(batch['inputs'], mode='predict')])
    parts = [torch.empty_like(scores) for _ in range(world)]
    dist.all_gather(parts, scores)
    sizes = [None] * world
    dist.all_gather_object(sizes, len(model.bank))
    if rank == 0:
        votes = torch.stack(parts, 1).flatten(0, 1)
        torch.save(dict(scores=votes, sizes=sizes), out)
    dist.destroy_process_group()


if __name__ == '__main__':
    main(sys.argv[1])
