"""PixPro's configs made small enough to train within a test."""

from pathlib import Path

from mmengine.config import Config

from tests.small import NARROW, SIDE

BASELINES = Path(__file__).resolve().parents[1] / 'configs' / 'baselines'
PIXPRO = ['pixpro', 'pixpro_100e']


def load(name='pixpro'):
    return Config.fromfile(BASELINES / f'{name}_r50_in1k.py')


def small_pixpro(images, work_dir, name='pixpro', batch_size=3, epochs=1, warmup=0, num_workers=0):
    """Narrow networks, 64 x 64 views (4 x 4 cells), a checkpoint an epoch."""
    cfg = load(name)
    model, loader = cfg.model, cfg.train_dataloader
    model.backbone.update(NARROW, strides=(1, 2, 2, 1))
    model.neck.update(in_channels=64, hid_channels=64, out_channels=32)
    model.head.update(channels=32)
    loader.update(
        batch_size=batch_size,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=False,
    )
    loader.dataset.data_root = str(images)
    (views,) = [t for t in loader.dataset.pipeline if t.type == 'orl_mm.MultiViewWithGeometry']
    views.update(size=SIDE)
    cfg.train_cfg.max_epochs = epochs
    for scheduler in cfg.param_scheduler:
        scheduler.update(warmup=warmup, end=epochs)
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.work_dir, cfg.experiment_name = str(work_dir), f'{name}_{Path(work_dir).name}'
    cfg.log_level = 'WARNING'
    return cfg
