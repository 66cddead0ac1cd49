"""A small k-NN probe: seven training images, an odd number, and four queries."""

from types import SimpleNamespace

import torch
from mmengine.dist import all_gather, all_gather_object
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


def votes(rank, world):
    """Scores of all queries in their order, and the features that each process holds."""
    model = probe()
    fill(model)
    images = Noise(QUERIES, 1).images[list(range(rank, QUERIES, world))]
    batch = model.data_preprocessor(dict(inputs=images, data_samples=None))
    scores = torch.stack([sample.pred_score for sample in model(batch['inputs'], mode='predict')])
    parts = all_gather(scores)
    return dict(
        scores=torch.stack(parts, 1).flatten(0, 1), sizes=all_gather_object(len(model.bank))
    )
