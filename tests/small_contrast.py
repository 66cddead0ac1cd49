"""VADeR and InfoMin made small enough to train within a test: models, inputs, configs."""

from pathlib import Path

import torch
from mmengine.config import Config

from orl_mm.models import InfoMin, VADeR
from orl_mm.structures import RegionBatch
from tests.small import NARROW, SIDE

BASELINES = Path(__file__).resolve().parents[1] / 'configs' / 'baselines'
STAGES = (8, 16, 32, 64)
DIM = 8
GROUPS = dict(type='GN', num_groups=2)  # of each image alone, unlike batch norm


def encoder(norm, **kwargs):
    return dict(
        type='mmpretrain.ResNet', **NARROW, norm_cfg=norm, zero_init_residual=False, **kwargs
    )


def vader(norm=None, num_pairs=32, queue_len=50, temperature=0.3, loss_weight=2.0, **kwargs):
    if norm is None:
        norm = dict(type='BN')
    model = VADeR(
        backbone=encoder(norm, out_indices=(0, 1, 2, 3)),
        neck=dict(
            type='orl_mm.PyramidDecoder',
            in_channels=STAGES,
            pyramid_channels=8,
            out_channels=DIM,
            num_groups=2,
        ),
        head=dict(
            type='orl_mm.PixelContrastHead', temperature=temperature, loss_weight=loss_weight
        ),
        num_pairs=num_pairs,
        queue_len=queue_len,
        **kwargs,
    )
    model.init_weights()
    return model.train()


def two_views(boxes, side=SIDE, seed=0):
    """Noise for each image of ``boxes`` (B, 2, 5), twice."""
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(len(boxes), 3, side, side, generator=generator) for _ in range(2)]
    return inputs, RegionBatch(torch.as_tensor(boxes, dtype=torch.float32))


def infomin(norm=None, queue_len=50, temperature=0.3, momentum=0.1, **kwargs):
    if norm is None:
        norm = dict(type='BN')
    neck = dict(type='mmpretrain.MoCoV2Neck', in_channels=64, hid_channels=16, out_channels=DIM)
    kwargs.setdefault(
        'jigsaw_neck',
        dict(type='orl_mm.JigsawNeck', crop_neck=neck, crop_channels=DIM, out_channels=DIM),
    )
    model = InfoMin(
        backbone=encoder(norm),
        neck=neck,
        head=dict(
            type='mmpretrain.ContrastiveHead',
            temperature=temperature,
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
        ),
        queue_len=queue_len,
        feat_dim=DIM,
        momentum=momentum,
        **kwargs,
    )
    model.init_weights()
    return model.train()


def views_and_crops(num, side=SIDE, crop=32, crops=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(num, 3, h, w, generator=generator)
        for h, w in ((side, side), (side, side), (crops * crop, crop))
    ]


def load(name):
    return Config.fromfile(BASELINES / f'{name}_r50_in1k.py')


def _small(cfg, name, images, work_dir, batch_size, epochs, num_workers):
    cfg.model.backbone.update(NARROW)
    loader = cfg.train_dataloader
    loader.update(
        batch_size=batch_size,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=False,
    )
    loader.dataset.data_root = str(images)
    cfg.train_cfg.max_epochs = epochs
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.default_hooks.logger.interval = 1
    cfg.work_dir, cfg.experiment_name = str(work_dir), f'{name}_{Path(work_dir).name}'
    cfg.log_level = 'WARNING'
    return cfg


def small_vader(images, work_dir, moco=None, batch_size=3, epochs=1, num_workers=0, pairs=8):
    """The config with narrow networks, 64 x 64 views (16 x 16 pixels) and a queue of 40."""
    cfg = _small(load('vader'), 'vader', images, work_dir, batch_size, epochs, num_workers)
    cfg.model.neck.update(in_channels=STAGES, pyramid_channels=8, out_channels=DIM, num_groups=2)
    cfg.model.update(queue_len=40, num_pairs=pairs)
    if moco is None:
        cfg.model.backbone.pop('init_cfg')
    else:
        cfg.model.backbone.init_cfg.checkpoint = str(moco)
    (views,) = (
        t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'orl_mm.MultiViewWithGeometry'
    )
    views.size = SIDE
    return cfg


def small_infomin(images, work_dir, batch_size=3, epochs=1, num_workers=0):
    """The config with narrow networks, 64 x 64 views, crops of 32 from 111 and a queue of 10."""
    cfg = _small(load('infomin'), 'infomin', images, work_dir, batch_size, epochs, num_workers)
    for neck in (cfg.model.neck, cfg.model.jigsaw_neck.crop_neck):
        neck.update(in_channels=64, hid_channels=16, out_channels=DIM)
    cfg.model.jigsaw_neck.update(crop_channels=DIM, out_channels=DIM)
    cfg.model.update(queue_len=10, feat_dim=DIM)
    (views,) = (t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'MultiView')
    for kind, size in zip(views.transforms, (SIDE, 111), strict=False):
        kind[0].scale = size
    views.transforms[1][-1].crop_size = 32
    for scheduler in cfg.param_scheduler:
        scheduler.update(T_max=epochs, end=epochs)
    return cfg
