"""What the extrapolation of projects/cost needs of the full-size configs.

    tools/benchmark.py full-size --natural DIR --xrays DIR --threads 1 --clock process --json FILE

Each config's step runs once, with random weights, to count its operations and exchanges; each
pipeline loads JPEGs of the full data set's usual size, resized from images that are at hand.
"""

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from orl_mm.registry import MODELS
from orl_mm.superpixels.cache import PriorSpec

from .cost import Loader, keep_superpixels, pipeline_of, read_config, set_data
from .cost import add_arguments as add_arguments  # for tools/benchmark.py
from .timing import Report, median, watch
from .training import ROOT, image_files, make_batch

# Key -> (config, sides of its views; R2O's third is x0), of the steps to count.
STEPS: dict[str, tuple[str, tuple[int, ...]]] = {
    'byol': ('configs/baselines/byol_r50_in1k.py', (224, 224)),
    'r2o': ('configs/r2o/r50_in1k.py', (224, 224, 224)),
    'dino': ('configs/medino/vits16_chexpert_dino.py', (224,) * 2 + (96,) * 8),
    'medino': ('configs/medino/vits16_chexpert_deformable.py', (224, 224)),
}
# Key -> config, of the pipelines to time.
PIPELINES = {key: path for key, (path, _) in STEPS.items()}
PIPELINES['dino_chest'] = 'configs/medino/vits16_chexpert_dino-cxr-aug.py'
SIZES = dict(natural=(500, 375), xrays=(390, 320))  # of ImageNet and CheXpert-small


def run(args: argparse.Namespace) -> Report:
    """Counts, and seconds of loading an image."""
    cv2.setNumThreads(1)
    set_data(args)
    report, turns = Report('full-size', args), args.rounds or 3
    photographs = f'{args.natural}/imagenet_sample'
    counts = {key: count_config(key, 8 if key == 'r2o' else 2, photographs) for key in STEPS}
    with tempfile.TemporaryDirectory() as folder:
        found = load_seconds(report, args, Path(folder), turns)
    report.details['inputs'] = dict(counts=counts, **found)
    for key, seconds in found['load'].items():
        report.add(f'loading an image: {key} / byol', seconds / found['load']['byol'])
    return report


def count_step(loss: Callable[[], Tensor], model: nn.Module) -> dict[str, float]:
    """Count what a step computes and exchanges.

    Returns:
        dict: ``forward`` and ``backward`` FLOPs of convolutions and matrix products;
        ``norm_calls``, the exchanges that SyncBN would make: one in a forward pass, one more
        in its backward pass; ``gradient_bytes`` in fp32.
    """
    calls = []
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                hook = module.register_forward_hook(
                    lambda _, args, out: calls.append(2 if out.requires_grad else 1)
                )
                stack.callback(hook.remove)
        # The fused attention of the CPU has no counting rule.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        with FlopCounterMode(display=False) as forward:
            value = loss()
        with FlopCounterMode(display=False) as backward:
            value.backward()
    return dict(
        forward=forward.get_total_flops(),
        backward=backward.get_total_flops(),
        norm_calls=sum(calls),
        gradient_bytes=sum(p.numel() * 4 for p in model.parameters() if p.requires_grad),
    )


def count_config(key: str, images: int, folder: str | None = None) -> dict[str, Any]:
    """Count the step of a full-size config.

    Args:
        key (str): Of :data:`STEPS`.
        images (int): In the batch that is counted.
        folder (str, optional): Photographs for R2O, whose superpixels decide how many regions
            its projector sees.

    Returns:
        dict: As :func:`count_step` with FLOPs per image; ``epochs`` and ``batch`` of the
        config; R2O's ``superpixels`` per image.
    """
    path, sides = STEPS[key]
    cfg = Config.fromfile(str(ROOT / path))
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    cfg.model.backbone.pop('init_cfg', None)
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
    hub = MessageHub.get_instance('full_size')  # mmpretrain's CosineEMA reads the run's length
    hub.update_info_dict(dict(max_iters=100, iter=0))
    views, batch = [torch.randn(images, 3, side, side) for side in sides], None
    if key == 'r2o':
        views, batch, _ = make_batch(images, folder=folder)

    def loss() -> Tensor:
        with torch.autocast('cpu', torch.bfloat16):  # faster, with the same counts
            return sum(v for k, v in model.loss(views, batch).items() if 'loss' in k)

    found = count_step(loss, model)
    found.update(
        forward=found['forward'] / images,
        backward=found['backward'] / images,
        epochs=cfg.train_cfg.max_epochs,
        batch=cfg.train_dataloader.batch_size,
    )
    if batch is not None:
        found['superpixels'] = sum(batch.counts) / images
    return found


def load_seconds(
    report: Report, args: argparse.Namespace, folder: Path, turns: int
) -> dict[str, Any]:
    """Processor seconds of loading an image through each pipeline, and of its superpixels."""
    loads: dict[str, Loader] = {}
    for key, path in PIPELINES.items():
        family = 'natural' if key in ('byol', 'r2o') else 'xrays'
        images = f'{args.natural}/imagenet_sample' if family == 'natural' else f'{args.xrays}/jsrt'
        paths, _ = image_files(images, 32 * turns, folder / family, SIZES[family])
        cfg = read_config(path)
        root = str(Path(paths[0]).parent)
        cfg.train_dataloader.dataset = dict(
            type='orl_mm.ImageList', data_root=root, pipeline=pipeline_of(cfg)
        )
        if key == 'r2o':
            loads['r2o_anew'] = Loader(cfg, turns)
            keep_superpixels(cfg, loads['r2o_anew'], folder / key)
        if key == 'medino':  # registered to the images of which these are copies
            pipeline_of(cfg)[2].update(
                source=f'{args.templates}/registered', check='none', root=root
            )
        loads[key] = Loader(cfg, turns)
    with watch([('slic', PriorSpec, '__call__')], clock='process') as readings:
        spent = report.time(loads, turns, progress='full-size batches')
    return dict(
        load={key: median(seconds) / loads[key].size for key, seconds in spent.items()},
        superpixels=readings()['slic'] / ((1 + turns) * loads['r2o_anew'].size),
    )
