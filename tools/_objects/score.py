"""Objects of a data set as a network finds them, mini-batch by mini-batch, and their scores."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from torch import Tensor, nn

from orl_mm.datasets.object_masks import ObjectMasks, batches
from orl_mm.engine.cli import UserError
from orl_mm.evaluation.object_agreement import ObjectAgreement, object_agreement
from orl_mm.registry import TRANSFORMS
from orl_mm.structures import RegionBatch
from orl_mm.visualization.draw import resize_labels
from orl_mm.visualization.probe import find_objects
from orl_mm.visualization.samples import short_name, training_dataset_config


class Loaded(NamedTuple):
    """A data set in memory: truth, whole images (n, 3, H, W) uint8 BGR, superpixels."""

    truth: list[ObjectMasks]
    x0: Tensor
    regions: list[Tensor] | None


class Entry(NamedTuple):
    """One network at one step of its training, clustered once, on one data set.

    ``labels`` (int16) of the first clustering of the first training alone: a picture shows them.
    """

    name: str
    step: int
    seed: int
    data: str
    images: list[ObjectAgreement]
    labels: list[np.ndarray] | None
    checkpoint: str | None


class Scorer:
    """Scores of networks under one way to objects.

    Args:
        cfg (Config): Of R2O.
        batch_size (int, optional): Images clustered together; None: the config's.
        num_clusters (int, optional): K; None: the config's.
        device (str): Where networks run.

    Raises:
        UserError: The config's pipeline makes no whole image.
    """

    def __init__(
        self,
        cfg: Config,
        batch_size: int | None = None,
        num_clusters: int | None = None,
        device: str = 'cpu',
    ) -> None:
        self.batch_size = batch_size or cfg.train_dataloader.batch_size
        self.num_clusters, self.device = num_clusters, device
        steps = []
        for step in training_dataset_config(cfg)['pipeline']:
            if short_name(step) in ('LoadImage', 'LoadImageFromFile', 'GenerateSuperpixels'):
                step = dict(step)
                step.pop('cache', None)
                steps.append(step)
        if not steps or short_name(steps[-1]) != 'GenerateSuperpixels':
            raise UserError(
                f'{cfg.filename} has no orl_mm.GenerateSuperpixels: take a config of orl_mm.R2O'
            )
        self.pipeline = Compose([TRANSFORMS.build(step) for step in steps])
        self.size: int = self.pipeline.transforms[-1].size
        self.data: dict[str, Loaded] = {}
        self.entries: list[Entry] = []

    def load(self, data: dict[str, list[ObjectMasks]]) -> None:
        """Read the images of each data set and make their superpixels."""
        for name, truth in data.items():
            samples = [self.pipeline(dict(img_path=str(image.path))) for image in truth]
            x0 = torch.from_numpy(np.stack([s['x0'] for s in samples])).permute(0, 3, 1, 2)
            regions = [s['regions'] for s in samples] if 'regions' in samples[0] else None
            self.data[name] = Loaded(truth, x0, regions)

    def add(
        self,
        name: str,
        model: nn.Module | None,
        step: int = 0,
        seed: int = 0,
        checkpoint: str | None = None,
    ) -> None:
        """Score one network; None: the superpixels themselves."""
        for data, loaded in self.data.items():
            if model is None:
                if loaded.regions is None:
                    continue
                labels = [region.numpy() for region in loaded.regions]
            else:
                labels = self._objects(model, loaded, seed)
            images = [
                object_agreement(found.astype(np.int64), truth.objects, truth.ignore)
                for found, truth in zip(labels, loaded.truth, strict=False)
            ]
            first = (name, step, data) not in {(e.name, e.step, e.data) for e in self.entries}
            kept = [found.astype(np.int16) for found in labels] if first else None
            self.entries.append(Entry(name, step, seed, data, images, kept, checkpoint))

    def _objects(self, model: nn.Module, loaded: Loaded, seed: int) -> list[np.ndarray]:
        model = model.to(self.device)
        model.refiner.seed = seed
        if self.num_clusters is not None:
            model.refiner.num_clusters = self.num_clusters
        found: dict[int, np.ndarray] = {}
        for indices in batches(loaded.truth, self.batch_size, seed):
            regions = counts = None
            if loaded.regions is not None:
                maps = [loaded.regions[i] for i in indices]
                regions, counts = (
                    torch.stack([m.int() for m in maps]),
                    [int(m.max()) + 1 for m in maps],
                )
            batch = RegionBatch(torch.zeros(len(indices), 2, 5), regions, counts or ())
            data = model.data_preprocessor(
                dict(inputs=[loaded.x0[indices]], data_samples=batch), False
            )
            labels = find_objects(model, data['inputs'][0], data['data_samples'].labels, counts)
            for i, image in zip(indices, labels, strict=False):
                found.setdefault(i, resize_labels(image, self.size, self.size))
        return [found[i] for i in range(len(loaded.truth))]


def checkpoints_of(path: str) -> list[tuple[int, Path]]:
    """A checkpoint, or all of a work directory by the number in their names.

    Raises:
        UserError: Neither is there.
    """
    where = Path(path).expanduser()
    files = [where] if where.is_file() else sorted(where.glob('*.pth'))
    if not files:
        raise UserError(f'{path} is no checkpoint and no folder with checkpoints (*.pth)')
    found = [(int((re.findall(r'\d+', file.stem) or [0])[-1]), file) for file in files]
    return sorted(found)
