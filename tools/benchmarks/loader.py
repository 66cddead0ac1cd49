"""What whole images with superpixels add to loading two views: from a cache, and computed anew."""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
from cache_superpixels import main as make_cache
from mmengine.dataset import default_collate
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader

from orl_mm.datasets.image_list import ImageList
from orl_mm.engine.hooks.set_epoch_hook import find_epoch_aware

from .timing import Report, in_turns
from .training import image_files

BATCH = 8


def run(args: argparse.Namespace) -> Report:
    """Median processor time per image of each pipeline, in one thread.

    The images are JPEGs of 500 x 375, ImageNet's usual size.
    """
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with (
        tempfile.TemporaryDirectory() as folder,
        DefaultScope.overwrite_default_scope('mmpretrain'),
    ):
        paths, origin = image_files(args.images, 8 if args.quick else 200, folder, (500, 375))
        root = str(Path(paths[0]).parent)
        datasets = {
            name: ImageList(data_root=root, pipeline=steps)
            for name, steps in make_pipelines(cache_superpixels(root, folder), root).items()
        }
        for transform in find_epoch_aware(list(datasets.values())):
            transform.set_epoch(0)
        images = [i % len(paths) for i in range(BATCH + len(paths))]  # a first batch warms up
        sides = {
            name: partial(next, map(data.__getitem__, images)) for name, data in datasets.items()
        }
        seconds = in_turns(sides, len(paths), BATCH, clock='process')
        workers = in_turns(
            {
                name: partial(
                    list,
                    DataLoader(
                        torch.utils.data.Subset(datasets[name], range(min(len(paths), 6 * BATCH))),
                        batch_size=BATCH,
                        num_workers=1,
                        persistent_workers=True,
                        collate_fn=default_collate,
                    ),
                )
                for name in ('views', 'cached')
            },
            5,
        )
    report = Report('loader', args, num_images=len(paths), images=origin)
    report.details.update(seconds=seconds, one_worker=workers)
    for side, name, target in (
        ('cached', 'x0, cached superpixels and two views / two views', 1.25),
        ('online', 'x0, online SLIC and two views / two views', None),
        ('x0_only', 'x0 and two views / two views', None),
        ('stock', "mmpretrain's own BYOL pipeline / two views", None),
    ):
        report.ratio(name, seconds, side, 'views', target=target)
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


def cache_superpixels(images: str, folder: str) -> str:
    """Cache the SLIC superpixels of all images below a folder; returns the cache."""
    out = f'{folder}/superpixels'
    make_cache(['--folder', images, '--out', out, '--workers', '1'])
    return out
