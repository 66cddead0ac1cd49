"""Configs made small enough to train within a test, killed, resumed and compared."""

import importlib.util
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

from orl_mm.models import InfoMin, VADeR
from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch
from orl_mm.weights import load_backbone, load_weights

CONFIGS = Path(__file__).resolve().parents[1] / 'configs' / 'r2o'
SIDE = 64
# The last stage of a ResNet-18 that starts with 8 channels has 64.
NARROW = dict(depth=18, base_channels=8, stem_channels=8)
ENCODER = dict(type='mmpretrain.ResNet', **NARROW, zero_init_residual=False)
BASELINES = CONFIGS.parent / 'baselines'
STAGES = (8, 16, 32, 64)
DIM = 8
BATCH_NORM = dict(type='BN')


def without_init():
    """Layers are left as allocated: for networks of real size that are only built."""
    names = ('kaiming_uniform_', 'kaiming_normal_', 'uniform_', 'normal_', 'trunc_normal_')
    kept = dict.fromkeys(names, lambda tensor, *args, **kwargs: tensor)
    return mock.patch.multiple('torch.nn.init', **kept)


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
    """R2O's config with narrow networks, 64 x 64 views and a checkpoint an epoch."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    model = cfg.model
    model.backbone.update(NARROW)
    model.update(grid=2)
    model.refiner.update(mask_size=16)
    model.neck.projector.update(in_channels=64, hid_channels=64, out_channels=32)
    model.head.predictor.update(in_channels=32, hid_channels=64, out_channels=32)
    cfg.train_dataloader.dataset.pop('classes_file', None)
    cfg.custom_hooks = [h for h in cfg.custom_hooks if h.type != 'orl_mm.ObjectVisualizationHook']
    cfg.vis_backends = [dict(type='LocalVisBackend')]
    return _short(cfg, name, images, work_dir, batch_size, epochs, warmup)


def _short(cfg, name, images, work_dir, batch_size, epochs, warmup=None, num_workers=0):
    """A short run on small views of ``images``; schedules follow unless ``warmup`` is None."""
    loader = cfg.train_dataloader
    loader.update(
        batch_size=batch_size,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=False,
    )
    loader.dataset.data_root = str(images)
    for transform in loader.dataset.pipeline:
        if transform.type in ('orl_mm.GenerateSuperpixels', 'orl_mm.MultiViewWithGeometry'):
            transform.size = SIDE
    cfg.train_cfg.max_epochs = epochs
    for scheduler in cfg.param_scheduler if warmup is not None else ():
        scheduler.update(warmup=warmup, end=epochs)
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.work_dir, cfg.experiment_name = str(work_dir), f'{name}_{Path(work_dir).name}'
    cfg.log_level = 'WARNING'
    return cfg


def load_baseline(name):
    return Config.fromfile(BASELINES / f'{name}_r50_in1k.py')


def small_detcon(name, images, work_dir, batch_size=3, epochs=1, warmup=0, num_workers=0):
    """DetCon's config with narrow networks, 64 x 64 views (2 x 2 features)."""
    cfg = load_baseline(name)
    cfg.model.backbone.update(NARROW)
    cfg.model.neck.projector.update(in_channels=64, hid_channels=64, out_channels=32)
    cfg.model.head.predictor.update(in_channels=32, hid_channels=64, out_channels=32)
    for transform in cfg.train_dataloader.dataset.pipeline:
        if transform.type == 'orl_mm.GenerateSuperpixels':
            transform.update(min_size=100)
    return _short(cfg, name, images, work_dir, batch_size, epochs, warmup, num_workers)


def small_pixpro(images, work_dir, name='pixpro', batch_size=3, epochs=1, warmup=0, num_workers=0):
    """PixPro's config with narrow networks, 64 x 64 views (4 x 4 cells)."""
    cfg = load_baseline(name)
    cfg.model.backbone.update(NARROW, strides=(1, 2, 2, 1))
    cfg.model.neck.update(in_channels=64, hid_channels=64, out_channels=32)
    cfg.model.head.update(channels=32)
    return _short(cfg, name, images, work_dir, batch_size, epochs, warmup, num_workers)


def small_vader(images, work_dir, moco=None, batch_size=3, epochs=1, num_workers=0, pairs=8):
    """VADeR's config with narrow networks, 64 x 64 views (16 x 16 pixels), a queue of 40."""
    cfg = load_baseline('vader')
    cfg.model.backbone.update(NARROW)
    cfg.model.neck.update(in_channels=STAGES, pyramid_channels=8, out_channels=DIM, num_groups=2)
    cfg.model.update(queue_len=40, num_pairs=pairs)
    if moco is None:
        cfg.model.backbone.pop('init_cfg')
    else:
        cfg.model.backbone.init_cfg.checkpoint = str(moco)
    cfg.default_hooks.logger.interval = 1
    return _short(cfg, 'vader', images, work_dir, batch_size, epochs, num_workers=num_workers)


def small_infomin(images, work_dir, batch_size=3, epochs=1, num_workers=0):
    """InfoMin's config with narrow networks, 64 x 64 views, crops of 32 from 111, a queue of 10."""
    cfg = load_baseline('infomin')
    cfg.model.backbone.update(NARROW)
    for neck in (cfg.model.neck, cfg.model.jigsaw_neck.crop_neck):
        neck.update(in_channels=64, hid_channels=16, out_channels=DIM)
    cfg.model.jigsaw_neck.update(crop_channels=DIM, out_channels=DIM)
    cfg.model.update(queue_len=10, feat_dim=DIM)
    (views,) = (t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'MultiView')
    for kind, size in zip(views.transforms, (SIDE, 111), strict=True):
        kind[0].scale = size
    views.transforms[1][-1].crop_size = 32
    for scheduler in cfg.param_scheduler:
        scheduler.update(T_max=epochs, end=epochs)
    cfg.default_hooks.logger.interval = 1
    return _short(cfg, 'infomin', images, work_dir, batch_size, epochs, num_workers=num_workers)


def mlp(in_channels, norm=None, **kwargs):
    """A projector or predictor of 8 channels."""
    return dict(
        type='orl_mm.RegionMLP',
        in_channels=in_channels,
        hid_channels=16,
        out_channels=8,
        with_bias=True,
        with_last_bn=False,
        with_last_bias=True,
        norm_cfg=norm or dict(type='BN1d'),
        **kwargs,
    )


def set_k(cfg, **schedule):
    """Replace K's schedule."""
    for hook in cfg.custom_hooks:
        if hook.type == 'orl_mm.KMeansRefineHook':
            hook.schedule = schedule


def tiny_dino(cfg, images, locals_=0):
    """DINO's recipe in three epochs of two steps: a ViT 12 wide, global crops of 32, local 16."""
    cfg.model.backbone = dict(
        type=cfg.model.backbone.type,
        img_size=32,
        patch_size=8,
        arch=dict(embed_dims=12, num_layers=2, num_heads=3, feedforward_channels=24),
        **({} if cfg.model.type == 'MoCoV3' else dict(out_type='cls_token', drop_path_rate=0.1)),
    )
    if cfg.model.type == 'MoCoV3':
        cfg.model.neck.update(in_channels=12, hid_channels=16, out_channels=8)
        cfg.model.head.predictor.update(in_channels=8, hid_channels=16, out_channels=8)
    else:
        cfg.model.head.update(
            in_channels=12, hid_channels=16, bottleneck_channels=8, out_channels=20
        )
        cfg.model.loss.out_channels = 20
    (views,) = [
        t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'orl_mm.MultiViewWithGeometry'
    ]
    views.template_size = 4
    if len(views.num_views) > 1:
        views.num_views = [1, 1, locals_]
    for view, size in zip(views.transforms, (32, 32, 16), strict=False):
        for step in view:
            if step.type == 'RandomResizedCrop':
                step.scale = size
    cfg.train_dataloader.update(batch_size=3, num_workers=1, pin_memory=False)
    cfg.train_dataloader.dataset = dict(
        type='orl_mm.ImageList',
        data_root=str(images),
        pipeline=cfg.train_dataloader.dataset.pipeline,
    )
    for schedule in cfg.param_scheduler:
        schedule.update(end=3, **(dict(warmup=1) if 'warmup' in schedule else {}))
    cfg.train_cfg.max_epochs = 3
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)


class Kill(Hook):
    """End the process's work in the middle of an epoch, after its checkpoint was written."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch == 1 and batch_idx == 1:
            raise KeyboardInterrupt


def train(cfg, kill=False):
    """Run a config's training, to its end or to the middle of its second epoch.

    Its workers are stopped: left to the garbage collector they cost the next test seconds.
    """
    runner = Runner.from_cfg(cfg)
    if kill:
        runner.register_hook(Kill())
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    else:
        runner.train()
    workers = getattr(runner.train_dataloader, '_iterator', None)
    if hasattr(workers, '_shutdown_workers'):
        workers._shutdown_workers()
    return runner


def same(a, b, where=''):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            same(a[key], b[key], f'{where}.{key}')
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=False)):
            same(x, y, f'{where}[{i}]')
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def resumed_equals_unbroken(config, folder, epochs=3, moving=()):
    """A run resumed after its first epoch ends bit for bit as the unbroken one.

    ``config(work_dir)`` makes the config; the weights called ``moving`` must change after the
    first epoch. Returns the checkpoints of the first epoch and of the unbroken run.
    """
    first = folder / 'whole' / 'epoch_1.pth'  # also what a run killed later would leave
    for name in ('whole', 'resumed'):
        cfg = config(folder / name)
        init_default_scope(cfg.default_scope)
        if name == 'resumed':
            cfg.resume, cfg.load_from = True, str(first)
        train(cfg)
    whole, resumed = (
        load_weights(folder / name / f'epoch_{epochs}.pth') for name in ('whole', 'resumed')
    )
    before = load_weights(first)
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        same(whole.get(part), resumed.get(part), part)
    for key in moving:
        assert not torch.equal(before['state_dict'][key], whole['state_dict'][key]), key
    scalars, again = (state['message_hub']['log_scalars'] for state in (whole, resumed))
    for key in {'train/loss', 'train/momentum'} & set(scalars):
        same(scalars[key].data[0].tolist(), again[key].data[0].tolist(), key)
    losses = scalars['train/loss'].data[0]
    assert np.isfinite(losses).all()
    assert len(set(losses)) > len(losses) / 2
    return before, whole


def backbone_is_handed_on(runner, file, **backbone):
    """The backbone of a checkpoint loads whole into a stock ResNet, by config and by call."""
    start = dict(type='orl_mm.PretrainedBackbone', checkpoint=str(file))
    stock = MODELS.build(dict(type='mmpretrain.ResNet', **{**NARROW, **backbone}, init_cfg=start))
    stock.init_weights()
    same(dict(runner.model.backbone.state_dict()), dict(stock.state_dict()))
    result = load_backbone(stock, file)
    assert (result.prefix, result.missing) == ('backbone.', [])


def some_real_images(shared_data, folder):
    """A folder with every 130th image of the ImageNet sample."""
    folder.mkdir()
    chosen = sorted((shared_data / 'natural' / 'imagenet_sample').rglob('*.jpg'))[::130]
    assert len(chosen) >= 6
    for path in chosen:
        (folder / path.name).symlink_to(path)
    return len(chosen)


def load_tool(name):
    """The module of a file of tools/, imported again."""
    path = CONFIGS.parents[1] / 'tools' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'{name}_tool', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call_tool(monkeypatch, command):
    """Run ``train CONFIG ...`` in this process; ``train`` is a file of tools/."""
    name, *words = command.split()
    monkeypatch.setattr('sys.argv', [f'{name}.py', *words])
    load_tool(name).main()


def ends_in_one_line(monkeypatch, capsys, command, said):
    """The command exits with code 2 after one line that matches ``said``."""
    with pytest.raises(SystemExit) as stop:
        call_tool(monkeypatch, command)
    name = command.split()[0]
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith(f'{name}.py: ')]
    assert stop.value.code == 2
    assert len(lines) == 1, lines
    assert re.search(said, lines[0]), lines


def has(part, **expected):
    """The attributes of a config, or of a part built from one, have these values."""
    assert {key: getattr(part, key) for key in expected} == expected


def kinds(parts):
    """The types of transforms, in order, in one text."""
    return ' '.join(part.type for part in parts)


def vader(norm=BATCH_NORM, num_pairs=32, queue_len=50, temperature=0.3, loss_weight=2.0, **kwargs):
    model = VADeR(
        backbone=dict(ENCODER, norm_cfg=norm, out_indices=(0, 1, 2, 3)),
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


def infomin(norm=BATCH_NORM, queue_len=50, temperature=0.3, momentum=0.1, **kwargs):
    neck = dict(type='mmpretrain.MoCoV2Neck', in_channels=64, hid_channels=16, out_channels=DIM)
    kwargs.setdefault(
        'jigsaw_neck',
        dict(type='orl_mm.JigsawNeck', crop_neck=neck, crop_channels=DIM, out_channels=DIM),
    )
    model = InfoMin(
        backbone=dict(ENCODER, norm_cfg=norm),
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
