"""R2O's configs made small enough to train within a test."""

from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

CONFIGS = Path(__file__).resolve().parents[1] / 'configs' / 'r2o'
SIDE = 64
# The last stage of a ResNet-18 that starts with 8 channels has 64.
NARROW = dict(depth=18, base_channels=8, stem_channels=8)


def write_photographs(folder, count, patch=48, seed=0):
    """Pictures of four noisy patches each, ``0.png`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    for i in range(count):
        patches = draw.integers(0, 256, (2, 2, 3)).repeat(patch, 0).repeat(patch, 1)
        noisy = (patches + draw.integers(-20, 20, patches.shape)).clip(0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f'{i}.png')
    return folder


def small(name, images, work_dir, batch_size=4, epochs=1, warmup=0):
    """The config with narrow networks, 64 x 64 views and a checkpoint an epoch."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    model, loader = cfg.model, cfg.train_dataloader
    model.backbone.update(NARROW)
    model.update(grid=2)
    model.refiner.update(mask_size=16)
    model.neck.projector.update(in_channels=64, hid_channels=64, out_channels=32)
    model.head.predictor.update(in_channels=32, hid_channels=64, out_channels=32)
    loader.update(batch_size=batch_size, num_workers=0, persistent_workers=False,
                  pin_memory=False)
    loader.dataset.data_root = str(images)
    loader.dataset.pop('classes_file', None)
    for transform in loader.dataset.pipeline:
        if transform.type in ('orl_mm.GenerateSuperpixels', 'orl_mm.MultiViewWithGeometry'):
            transform.size = SIDE
    cfg.custom_hooks = [h for h in cfg.custom_hooks
                        if h.type != 'orl_mm.ObjectVisualizationHook']
    cfg.train_cfg.max_epochs = epochs
    for scheduler in cfg.param_scheduler:
        scheduler.update(warmup=warmup, end=epochs)
    cfg.vis_backends = cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.work_dir, cfg.experiment_name = str(work_dir), f'{name}_{work_dir.name}'
    cfg.log_level = 'WARNING'
    return cfg


def set_k(cfg, **schedule):
    """Replace K's schedule."""
    for hook in cfg.custom_hooks:
        if hook.type == 'orl_mm.KMeansRefineHook':
            hook.schedule = schedule
