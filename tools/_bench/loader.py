"""What x0 and its superpixels cost the loader, beside two views alone."""

import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.dataset import default_collate
from mmengine.registry import DefaultScope
from PIL import Image

from orl_mm.engine.hooks.set_epoch_hook import find_epoch_aware
from orl_mm.io.image_list import find_images
from orl_mm.superpixels.build import BuildJob, build
from orl_mm.superpixels.spec import PriorSpec

BATCH = 8
ONLINE = 40  # SLIC is slow and steady: fewer images tell its cost


def run(images: None | str | list[str] = None, num_images: int = 200) -> dict:
    """Median processor time an image of each pipeline, in turns, in one thread.

    Args:
        images (list | str, optional): Image files, or a folder of them; by
            default crops of 500 x 375 (ImageNet's usual size) from the
            photographs that scikit-image and scikit-learn ship.
        num_images (int): How many to use.

    Returns:
        dict: ``cached``, ``x0_only``, ``online`` and ``stock`` (mmpretrain's
        own BYOL pipeline) as ratios to the two views alone;
        ``cached_one_worker`` the same ratio by the wall clock through a data
        loader with one worker, collating and handing over included; ``ms``
        the medians in milliseconds an image.
    """
    cv2_threads, threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            DefaultScope.overwrite_default_scope('mmpretrain'),
        ):
            paths = _paths(images, num_images, folder)
            cache, root = _cache(paths, folder)
            pipelines = {name: Compose(steps) for name, steps in _pipelines(cache, root).items()}
            for pipeline in pipelines.values():
                for transform in find_epoch_aware(pipeline):
                    transform.set_epoch(0)
            seconds = _in_turns(pipelines, paths)
            workers = _one_worker(pipelines, paths)
    finally:
        cv2.setNumThreads(cv2_threads)
        torch.set_num_threads(threads)
    ms = {name: 1e3 * statistics.median(s) for name, s in seconds.items()}
    ratios = {name: value / ms['views'] for name, value in ms.items() if name != 'views'}
    return dict(
        ratios,
        cached_one_worker=workers['cached'] / workers['views'],
        ms={name: round(value, 3) for name, value in ms.items()},
        num_images=len(paths),
    )


def _pipelines(cache: str, root: str) -> dict[str, list]:
    load = [dict(type='orl_mm.SeedSample'), dict(type='orl_mm.LoadImage')]
    keys = ('views', 'regions', 'num_regions')
    views = [
        dict(
            type='orl_mm.MultiViewWithGeometry',
            num_views=[1, 1],
            transforms=[
                _photometry('orl_mm.GaussianBlur', 1.0, 0.0),
                _photometry('orl_mm.GaussianBlur', 0.1, 0.2),
            ],
        ),
        dict(type='PackInputs', algorithm_keys=keys),
    ]

    def prior(**options):
        return [dict(type='orl_mm.GenerateSuperpixels', **options)]

    crop = [
        dict(type='RandomResizedCrop', scale=224, interpolation='bicubic', backend='pillow'),
        dict(type='RandomFlip', prob=0.5),
    ]
    stock = dict(magnitude_range=(0.1, 2.0), magnitude_std='inf')
    return dict(
        views=load + views,
        x0_only=load + prior(method='none') + views,
        cached=load + prior(cache=cache, root=root) + views,
        online=load + prior() + views,
        stock=[
            dict(type='LoadImageFromFile'),
            dict(
                type='MultiView',
                num_views=[1, 1],
                transforms=[
                    crop + _photometry('GaussianBlur', 1.0, 0.0, **stock),
                    crop + _photometry('GaussianBlur', 0.1, 0.2, **stock),
                ],
            ),
            dict(type='PackInputs'),
        ],
    )


def _photometry(blur_type, blur, solarize, **options) -> list:
    return [
        dict(
            type='RandomApply',
            prob=0.8,
            transforms=[
                dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
            ],
        ),
        dict(
            type='RandomGrayscale',
            prob=0.2,
            keep_channels=True,
            channel_weights=(0.114, 0.587, 0.2989),
        ),
        dict(type=blur_type, prob=blur, **options),
        dict(type='Solarize', thr=128, prob=solarize),
    ]


def _in_turns(pipelines, paths) -> dict[str, list[float]]:
    """Seconds of processor time an image; the first batch only warms up.

    Processor time, because a loader only computes (the files are in memory by
    the second pipeline) and the wall clock would count other programs too.
    """
    seconds = {name: [] for name in pipelines}
    for index, path in enumerate(paths[:BATCH] + paths):
        for name, pipeline in pipelines.items():
            if name == 'online' and index >= BATCH + ONLINE:
                continue
            start = time.thread_time()
            pipeline(dict(img_path=path, sample_idx=index))
            if index >= BATCH:
                seconds[name].append(time.thread_time() - start)
    return seconds


class _Samples(torch.utils.data.Dataset):
    def __init__(self, pipeline, paths):
        self.pipeline, self.paths = pipeline, paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.pipeline(dict(img_path=self.paths[index], sample_idx=index))


def _one_worker(pipelines, paths, rounds: int = 5) -> dict[str, float]:
    """Median seconds of a pass with one worker; the first pass does not count."""
    paths = paths[: 6 * BATCH]
    loaders = {
        name: torch.utils.data.DataLoader(
            _Samples(pipelines[name], paths),
            batch_size=BATCH,
            num_workers=1,
            persistent_workers=True,
            collate_fn=default_collate,
        )
        for name in ('views', 'cached')
    }
    seconds = {name: [] for name in loaders}
    for turn in range(1 + rounds):
        for name, loader in loaders.items():
            start = time.perf_counter()
            for _ in loader:
                pass
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(s) for name, s in seconds.items()}


def _cache(paths, folder):
    """Cached masks of all images; the folder and the images' root."""
    root = os.path.commonpath([os.path.dirname(os.path.abspath(p)) for p in paths])
    job = BuildJob(PriorSpec('slic'), root, os.path.join(folder, 'masks'))
    with ThreadPoolExecutor(1) as pool:
        counts = build(job, [os.path.relpath(p, root) for p in paths], pool)
    if counts.unreadable:
        raise ValueError(f'unreadable images: {counts.unreadable[:3]}')
    return job.out, root


def _paths(images, num_images, folder) -> list[str]:
    if isinstance(images, str):
        found = list(find_images(images))
        images = found[:: max(1, len(found) // num_images)]
    if images is not None:
        if not images:
            raise ValueError('no images to load')
        return list(images)[:num_images]
    return _embedded(num_images, os.path.join(folder, 'images'))


def _embedded(count: int, folder: str) -> list[str]:
    """Crops of the photographs inside scikit-image and scikit-learn, as JPEG."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    photos = [data.astronaut(), data.coffee(), data.chelsea(), *load_sample_images().images]
    rng = np.random.default_rng(0)
    os.makedirs(folder)
    paths = []
    for index in range(count):
        photo = photos[index % len(photos)]
        height = int(rng.uniform(0.5, 1) * min(photo.shape[:2]) * 3 / 4)
        width = height * 4 // 3
        y = rng.integers(photo.shape[0] - height + 1)
        x = rng.integers(photo.shape[1] - width + 1)
        crop = Image.fromarray(photo[y : y + height, x : x + width])
        paths.append(os.path.join(folder, f'{index:04d}.jpg'))
        crop.resize((500, 375), Image.Resampling.BICUBIC).save(paths[-1], quality=92)
    return paths
