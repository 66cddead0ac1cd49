"""Processor time of loading an image: R2O's pipeline and others, against mmpretrain's for BYOL."""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
from cache_superpixels import main as make_cache
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import DefaultScope
from mmpretrain.datasets import PackInputs
from torch.utils.data import DataLoader, Subset

from orl_mm.datasets.image_list import ImageList
from orl_mm.datasets.transforms import LoadImage, MultiViewWithGeometry, SeedSample
from orl_mm.engine.hooks.set_epoch_hook import find_epoch_aware
from orl_mm.structures.view_geometry import ViewGeometry
from orl_mm.superpixels.cache import SuperpixelCache

from .timing import Report, Seconds, in_turns, median, watch
from .training import image_files

BATCH = 8
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
OTHERS = {
    'DetCon': 'baselines/detcon-b_r50_in1k.py',
    'PixPro': 'baselines/pixpro_r50_in1k.py',
    'DINO': 'baselines/dino_vits16_in1k.py',
    'chest views': 'medino/vits16_chexpert_dino-cxr-aug.py',
}
STAGES = (
    ('seeds', SeedSample, 'transform'),
    ('read and decode', LoadImage, 'transform'),
    ('read the mask', SuperpixelCache, 'read'),
    ('resize x0 and views', ViewGeometry, 'apply_image'),
    ('photometry', MultiViewWithGeometry, 'distort'),
    ('pack', PackInputs, 'transform'),
)


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

        def build(pipelines: dict) -> dict[str, ImageList]:
            return {name: ImageList(data_root=root, pipeline=p) for name, p in pipelines.items()}

        datasets = build(make_pipelines(cache_superpixels(root, f'{folder}/slic'), root))
        seconds = per_image(datasets, len(paths))
        grid = cache_superpixels(root, f'{folder}/grid', '--method', 'grid', '--size', '448')
        seconds |= per_image(build(other_pipelines(grid, root)), len(paths) // 4)
        stages = {
            name: per_stage(datasets[name], len(paths)) for name in ('cached', 'fast', 'device')
        }
        workers = in_turns(
            {
                name: partial(
                    list,
                    DataLoader(
                        Subset(datasets[name], range(min(len(paths), 6 * BATCH))),
                        batch_size=BATCH,
                        num_workers=1,
                        persistent_workers=True,
                        collate_fn=default_collate,
                    ),
                )
                for name in ('views', 'cached', 'fast', 'stock')
            },
            5,
        )
    report = Report('loader', args, num_images=len(paths), images=origin)
    report.details.update(seconds=seconds, one_worker=workers, stages=stages)
    ours, stock = 'R2O with cached superpixels', "mmpretrain's own BYOL pipeline"
    report.ratio(f'{ours} / {stock}', seconds, 'fast', 'stock', target=0.4)
    report.ratio(f'{ours}, one worker, wall clock / {stock}', workers, 'fast', 'stock', target=0.4)
    report.ratio(f'{ours}, photometry on the device / {stock}', seconds, 'device', 'stock')
    for backend, limit in (('fast', 4.5), ('device', 3.0)):
        name = f"{ours}, backend='{backend}', processor time per image"
        report.add(name, 1000 * median(seconds[backend]), 'ms', target=limit, note='idle core')
    for name in OTHERS:
        pair = f'{name} fast', f'{name} pillow'
        report.ratio(f"{name}, backend='fast' / 'pillow'", seconds, *pair)
    for stage in stages['fast']:
        pillow, fast, device = (f'{1000 * stages[x][stage]:.2f}' for x in stages)
        note = f"ms with backend='pillow': {pillow}, 'device': {device}"
        report.add(f'of which {stage}', float(fast), 'ms', note=note)
    for side, name, target in (
        ('cached', 'x0, cached superpixels and two views / two views', 1.25),
        ('online', 'x0, online SLIC and two views / two views', None),
        ('x0_only', 'x0 and two views / two views', None),
        ('stock', f'{stock} / two views', None),
    ):
        report.ratio(name, seconds, side, 'views', target=target, note="backend='pillow': ")
    name = 'the same through a data loader of one worker, wall clock'
    report.ratio(name, workers, 'cached', 'views', target=1.25)
    return report


def per_image(datasets: dict[str, ImageList], rounds: int) -> Seconds:
    """Processor seconds of each data set's samples, in turns."""
    for transform in find_epoch_aware(list(datasets.values())):
        transform.set_epoch(0)
    images = [i % rounds for i in range(BATCH + rounds)]  # a first batch warms up
    sides = {name: partial(next, map(data.__getitem__, images)) for name, data in datasets.items()}
    return in_turns(sides, rounds, BATCH, clock='process')


def per_stage(dataset: ImageList, rounds: int) -> dict[str, float]:
    """Mean processor seconds per image of the stages of R2O's pipeline."""
    with watch(STAGES, clock='process') as seconds:
        for i in range(rounds):
            dataset[i]
        return {name: total / rounds for name, total in seconds().items()}


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

    def ours(*prior: dict[str, Any], backend: str = 'pillow') -> list[dict[str, Any]]:
        return [
            dict(type='orl_mm.SeedSample'),
            dict(type='orl_mm.LoadImage'),
            *(
                dict(type='orl_mm.GenerateSuperpixels', backend=backend, **options)
                for options in prior
            ),
            dict(
                type='orl_mm.MultiViewWithGeometry',
                num_views=[1, 1],
                transforms=views('orl_mm.GaussianBlur'),
                backend=backend,
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
        fast=ours(dict(cache=cache, root=root), backend='fast'),
        device=ours(dict(cache=cache, root=root), backend='device'),
        online=ours({}),
        stock=[
            dict(type='LoadImageFromFile'),
            dict(type='MultiView', num_views=[1, 1], transforms=[crop + view for view in stock]),
            dict(type='PackInputs'),
        ],
    )


def other_pipelines(cache: str, root: str) -> dict[str, list[dict[str, Any]]]:
    """The full-size configs' pipelines with both backends; DetCon's regions are cached cells."""
    pipelines = {}
    for name, config in OTHERS.items():
        steps = Config.fromfile(str(CONFIGS / config)).train_dataloader.dataset.pipeline
        for backend in ('pillow', 'fast'):
            pipelines[f'{name} {backend}'] = [
                dict(step, backend=backend) if 'backend' in step else dict(step) for step in steps
            ]
            for step in pipelines[f'{name} {backend}']:
                if step['type'] == 'orl_mm.GenerateSuperpixels':
                    step.update(method='grid', cache=cache, root=root)
    return pipelines


def cache_superpixels(images: str, out: str, *options: str) -> str:
    """Cache the superpixels of all images below a folder; returns the cache."""
    make_cache(['--folder', images, '--out', out, '--workers', '1', *options])
    return out
