"""A batch of data as one worker makes it, and the superpixels that it may read or compute."""

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _bench.clock import CLOCKS, median
from mmengine.config import Config
from mmengine.registry import FUNCTIONS, DefaultScope

from orl_mm.engine.hooks.set_epoch_hook import find_epoch_aware
from orl_mm.io.image import decode_image
from orl_mm.registry import DATASETS
from orl_mm.structures.view_geometry import ViewGeometry
from orl_mm.superpixels.build import BuildJob, build
from orl_mm.superpixels.spec import PriorSpec, parameters


class Loader:
    """What a worker does for a batch: ``collate([dataset[i], ...])``; each call the next batch.

    Args:
        cfg (Config): Its data set, in the first epoch, its batch size and how samples are joined.
        turns (int): Batches, of images spread evenly over the list; then they come again.

    Attributes:
        batches (list): What was loaded, each batch once.
        size (int): Images of a batch.
    """

    def __init__(self, cfg: Config, turns: int) -> None:
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            self.dataset = DATASETS.build(cfg.train_dataloader.dataset)
            self.collate = FUNCTIONS.get(cfg.train_dataloader.collate_fn.type)
        for transform in find_epoch_aware(self.dataset):
            transform.set_epoch(0)
        self.size = cfg.train_dataloader.batch_size
        places = np.linspace(0, len(self.dataset), turns * self.size, endpoint=False).astype(int)
        # Batch k takes every turns-th image: each holds all kinds of the list.
        self.chosen = [places[k::turns].tolist() for k in range(turns)]
        self.batches: list[dict] = []
        self.turn = 0

    def __call__(self) -> None:
        rows = self.chosen[self.turn % len(self.chosen)]
        batch = self.collate([self.dataset[i] for i in rows])
        if self.turn < len(self.chosen):
            self.batches.append(batch)
        self.turn += 1

    def paths(self) -> list[str]:
        """The images of all batches."""
        return [
            self.dataset.get_data_info(i)['img_path']
            for i in sorted({i for rows in self.chosen for i in rows})
        ]


def superpixel_step(cfg: Config) -> dict[str, Any] | None:
    """The step of a config's pipeline that computes superpixels, if there is one."""
    return next(
        (
            step
            for step in cfg.train_dataloader.dataset.pipeline
            if step.type == 'orl_mm.GenerateSuperpixels'
        ),
        None,
    )


def prior_of(step: dict[str, Any]) -> PriorSpec:
    """What a ``GenerateSuperpixels`` computes."""
    method = step.get('method', 'slic')
    return PriorSpec(
        method, {k: v for k, v in step.items() if k in parameters(method)}, step.get('size', 224)
    )


def keep_superpixels(paths: list[str], step: dict[str, Any], folder: Path) -> Path:
    """Superpixels of some images, kept as tools/cache_superpixels.py keeps them."""
    spec = prior_of(step)
    mark = zlib.crc32('\n'.join([repr(spec), *paths]).encode())
    root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    job = BuildJob(spec, root, str(folder / 'superpixels' / f'{spec.method}_{mark:08x}'))
    with ThreadPoolExecutor(1) as pool:
        build(job, [os.path.relpath(path, root) for path in paths], pool)
    return Path(job.out)


def superpixel_seconds(paths: list[str], step: dict[str, Any]) -> float:
    """Median processor time of the superpixels of one image, reading it not included."""
    cv2.setNumThreads(1)
    spec, now, seconds = prior_of(step), CLOCKS['process'], []
    for path in paths:
        image = decode_image(Path(path).read_bytes(), 255, False)
        x0 = ViewGeometry.whole(*image.shape[:2]).apply_image(image, spec.size)
        start = now()
        spec(x0)
        seconds.append(now() - start)
    return median(seconds)
