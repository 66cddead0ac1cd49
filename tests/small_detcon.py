"""DetCon's configs made small enough to train within a test."""

from pathlib import Path

from mmengine.config import Config

from tests.small import NARROW, SIDE

BASELINES = Path(__file__).resolve().parents[1] / 'configs' / 'baselines'
DETCON = ['detcon-b', 'detcon-b_100e', 'detcon-b_paper', 'detcon-b_paper_100e']


def load(name):
    return Config.fromfile(BASELINES / f'{name}_r50_in1k.py')


def small_detcon(name, images, work_dir, batch_size=3, epochs=1, warmup=0, num_workers=0):
    """Narrow networks, 64 x 64 views (2 x 2 features), a checkpoint an epoch."""
    cfg = load(name)
    model, loader = cfg.model, cfg.train_dataloader
    model.backbone.update(NARROW)
    model.neck.projector.update(in_channels=64, hid_channels=64, out_channels=32)
    model.head.predictor.update(in_channels=32, hid_channels=64, out_channels=32)
    loader.update(
        batch_size=batch_size,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=False,
    )
    loader.dataset.data_root = str(images)
    for transform in loader.dataset.pipeline:
        if transform.type == 'orl_mm.GenerateSuperpixels':
            transform.update(size=SIDE, min_size=100)
        elif transform.type == 'orl_mm.MultiViewWithGeometry':
            transform.update(size=SIDE)
    cfg.train_cfg.max_epochs = epochs
    for scheduler in cfg.param_scheduler:
        scheduler.update(warmup=warmup, end=epochs)
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.work_dir, cfg.experiment_name = str(work_dir), f'{name}_{Path(work_dir).name}'
    cfg.log_level = 'WARNING'
    return cfg
