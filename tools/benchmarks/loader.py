"""What whole images with superpixels add to loading two views: from a cache, and computed anew."""

import argparse
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
from mmcv.transforms import Compose
from mmengine.dataset import default_collate
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader

from orl_mm.engine.hooks.set_epoch_hook import find_epoch_aware

from .timing import Report, Seconds, in_turns, median
from .training import ROOT, image_files

BATCH = 8
ONLINE = 40  # images with SLIC computed anew, which is slow and steady


def run(args: argparse.Namespace) -> Report:
    """Median processor time per image of each pipeline, in one thread.

    The images are JPEGs of 500 x 375, ImageNet's usual size.
    """
    threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            DefaultScope.overwrite_default_scope('mmpretrain'),
        ):
            count = 8 if args.quick else 200
            paths, origin = image_files(args.images, count, folder, (500, 375))
            root = str(Path(paths[0]).parent)
            pipelines = {
                name: Compose(steps)
                for name, steps in make_pipelines(cache_superpixels(root, folder), root).items()
            }
            for pipeline in pipelines.values():
                for transform in find_epoch_aware(pipeline):
                    transform.set_epoch(0)
            seconds = by_image(pipelines, paths)
            workers = by_worker(pipelines, paths)
    finally:
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])
    report = Report('loader', args, num_images=len(paths), images=origin)
    report.details.update(
        ms={name: 1000 * median(s) for name, s in seconds.items()}, one_worker=workers
    )
    for side, name, target in (
        ('cached', 'x0, cached superpixels and two views / two views', 1.25),
        ('online', 'x0, online SLIC and two views / two views', None),
        ('x0_only', 'x0 and two views / two views', None),
        ('stock', "mmpretrain's own BYOL pipeline / two views", None),
    ):
        note = 'ms per image: {:.1f} / {:.1f}'.format(
            *(1000 * median(seconds[s]) for s in (side, 'views'))
        )
        report.add(name, median(seconds[side]) / median(seconds['views']), target=target, note=note)
    name = 'the same through a data loader of one worker, wall clock'
    report.ratio(name, workers, 'cached', 'views', target=1.25)
    report.figures.insert(1, report.figures.pop())
    return report


def make_pipelines(cache: str, root: str) -> dict[str, list[dict[str, Any]]]:
    """Two views; with x0; with superpixels from the cache, or anew; mmpretrain's own."""

    def views(blur: str, **magnitude: Any) -> list[list[dict[str, Any]]]:
        jitter = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
        grey = dict(keep_channels=True, channel_weights=(0.114, 0.587, 0.2989))
        return [
            [
                dict(type='RandomApply', prob=0.8, transforms=[jitter]),
                dict(type='RandomGrayscale', prob=0.2, **grey),
                dict(type=blur, prob=blur_prob, **magnitude),
                dict(type='Solarize', thr=128, prob=solarize_prob),
            ]
            for blur_prob, solarize_prob in ((1.0, 0.0), (0.1, 0.2))
        ]

    def ours(*prior: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            dict(type='orl_mm.SeedSample'),
            dict(type='orl_mm.LoadImage'),
            *(dict(type='orl_mm.GenerateSuperpixels', **options) for options in prior),
            dict(
                type='orl_mm.MultiViewWithGeometry',
                num_views=[1, 1],
                transforms=views('orl_mm.GaussianBlur'),
            ),
            dict(type='PackInputs', algorithm_keys=('views', 'regions', 'num_regions')),
        ]

    crop = [
        dict(type='RandomResizedCrop', scale=224, interpolation='bicubic', backend='pillow'),
        dict(type='RandomFlip', prob=0.5),
    ]
    stock = views('GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf')
    return dict(
        views=ours(),
        x0_only=ours(dict(method='none')),
        cached=ours(dict(cache=cache, root=root)),
        online=ours({}),
        stock=[
            dict(type='LoadImageFromFile'),
            dict(type='MultiView', num_views=[1, 1], transforms=[crop + view for view in stock]),
            dict(type='PackInputs'),
        ],
    )


def by_image(pipelines: dict[str, Compose], paths: list[str]) -> Seconds:
    """Processor time of each image; a first batch is not counted.

    Processor time, since all files are in memory after the first pipeline has read them.
    """
    seconds: Seconds = {name: [] for name in pipelines}
    for index, path in enumerate(paths[:BATCH] + paths):
        for name, pipeline in pipelines.items():
            if name == 'online' and index >= BATCH + ONLINE:
                continue
            start = time.thread_time()
            pipeline(dict(img_path=path, sample_idx=index))
            if index >= BATCH:
                seconds[name].append(time.thread_time() - start)
    return seconds


class Samples(torch.utils.data.Dataset):
    """The images of ``paths`` through a pipeline."""

    def __init__(self, pipeline: Compose, paths: list[str]) -> None:
        self.pipeline, self.paths = pipeline, paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        return self.pipeline(dict(img_path=self.paths[index], sample_idx=index))


def by_worker(pipelines: dict[str, Compose], paths: list[str]) -> Seconds:
    """Wall-clock seconds of passes over some images by one worker, collation included."""
    loaders = {
        name: DataLoader(
            Samples(pipelines[name], paths[: 6 * BATCH]),
            batch_size=BATCH,
            num_workers=1,
            persistent_workers=True,
            collate_fn=default_collate,
        )
        for name in ('views', 'cached')
    }
    return in_turns({name: partial(list, loader) for name, loader in loaders.items()}, 5)


def cache_superpixels(images: str, folder: str | Path, *options: str) -> str:
    """Write the SLIC superpixels of all images below a folder; returns the cache."""
    out = str(Path(folder, 'superpixels'))
    tool = str(ROOT / 'tools' / 'cache_superpixels.py')
    command = [sys.executable, tool, '--folder', images, '--out', out, *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out
