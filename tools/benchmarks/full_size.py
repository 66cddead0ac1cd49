"""What the extrapolation of projects/cost needs of the full-size configs.

Each config's step runs once, with random weights, to count its operations and exchanges; each
pipeline loads JPEGs of the full data set's usual size, resized from images that are at hand.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

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

from .cost import Loader, keep_superpixels, pipeline_of, read_config
from .timing import Report, median, watch
from .training import ROOT, image_files, make_batch

# Table of cost.py -> key -> (config, sides of its views; R2O's third is x0). Without sides only
# loading is measured.
STEPS: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = dict(
    natural=dict(
        byol=('configs/baselines/byol_r50_in1k.py', (224, 224)),
        r2o=('configs/r2o/r50_in1k.py', (224, 224, 224)),
    ),
    xrays=dict(
        dino=('configs/medino/vits16_chexpert_dino.py', (224,) * 2 + (96,) * 8),
        medino=('configs/medino/vits16_chexpert_deformable.py', (224, 224)),
        dino_chest=('configs/medino/vits16_chexpert_dino-cxr-aug.py', ()),
    ),
)
# Folder of the images, and their usual size: of ImageNet and of CheXpert-small.
IMAGES = dict(
    natural=('ORL_NATURAL', 'imagenet_sample', (500, 375)), xrays=('ORL_CXR', 'jsrt', (390, 320))
)


def measure_inputs(
    report: Report, table: str, inputs: dict[str, Any], folder: Path, templates: Path
) -> None:
    """Add ``counts``, ``load`` (seconds an image) and of R2O ``superpixels`` to ``inputs``."""
    variable, name, size = IMAGES[table]
    images, turns = os.path.join(os.environ[variable], name), 3
    paths, _ = image_files(images, 32 * turns, folder / 'images', size)
    root, loads = str(Path(paths[0]).parent), {}
    for key, (path, sides) in STEPS[table].items():
        if sides:
            counts = count_config(path, sides, 8 if key == 'r2o' else 2, images)
            inputs.setdefault('counts', {})[key] = counts
        cfg = read_config(path)
        cfg.train_dataloader.dataset = dict(
            type='orl_mm.ImageList', data_root=root, pipeline=pipeline_of(cfg)
        )
        if key == 'r2o':
            loads['r2o_anew'] = Loader(cfg, turns)
            keep_superpixels(cfg, loads['r2o_anew'], folder / 'full_size')
        if key == 'medino':  # registered to the images of which these are copies
            pipeline_of(cfg)[2].update(source=f'{templates}/registered', check='none', root=root)
        loads[key] = Loader(cfg, turns)
    with watch([('slic', PriorSpec, '__call__')], clock='process') as readings:
        spent = report.time(loads, turns, progress='full-size batches')
    seconds = {key: median(found) / loads[key].size for key, found in spent.items()}
    inputs.setdefault('load', {}).update(seconds)
    if 'r2o_anew' in loads:
        batches = (1 + turns) * loads['r2o_anew'].size
        inputs['superpixels'] = readings()['slic'] / batches


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


def count_config(path: str, sides: Sequence[int], images: int, folder: str) -> dict[str, Any]:
    """Count the step of a full-size config.

    Args:
        path (str): The config.
        sides (sequence): Of its views.
        images (int): In the batch that is counted.
        folder (str): Photographs for R2O, whose superpixels decide how many regions its
            projector sees.

    Returns:
        dict: As :func:`count_step` with FLOPs per image; ``epochs`` and ``batch`` of the
        config; R2O's ``superpixels`` per image.
    """
    cfg = Config.fromfile(str(ROOT / path))
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    cfg.model.backbone.pop('init_cfg', None)
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
    hub = MessageHub.get_instance('full_size')  # mmpretrain's CosineEMA reads the run's length
    hub.update_info_dict(dict(max_iters=100, iter=0))
    views, batch = [torch.randn(images, 3, side, side) for side in sides], None
    if cfg.model.type == 'orl_mm.R2O':
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
