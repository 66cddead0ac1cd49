"""Baselines on mmpretrain's algorithms made small: trained, killed, resumed, handed on."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from orl_mm.registry import MODELS
from orl_mm.weights import load_backbone
from tests.small import (
    NARROW,
    SIDE,
    backbone_is_handed_on,
    resumed_equals_unbroken,
    same,
    train,
    write_photographs,
)

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'baselines'
NAMES = ('supervised', 'mocov1', 'mocov2', 'byol', 'densecl')
# What must move beside the trained network, and come back when resumed. (A queue of 16 rows
# is where it was after four steps of four: its pointer is compared, but need not move.)
STATE = dict(
    supervised=(),
    mocov1=('queue',),
    mocov2=('queue',),
    byol=('target_net.steps', 'target_net.module.0.conv1.weight'),
    densecl=('queue', 'queue2'),
)


def small(name, images, work_dir, epochs=3, batch_size=4):
    cfg = Config.fromfile(CONFIGS / f'{name}_r50_in1k.py')
    model, loader = cfg.model, cfg.train_dataloader
    model.backbone.update(NARROW)
    if name == 'supervised':
        model.head.update(in_channels=64, num_classes=2, topk=(1,))
        loader.dataset = dict(
            type='CustomDataset', data_root=str(images), pipeline=loader.dataset.pipeline
        )
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
        cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    else:
        model.neck.update(in_channels=64, out_channels=16)
        if 'hid_channels' in model.neck:
            model.neck.hid_channels = 32
        loader.dataset.data_root = str(images)
    if name == 'byol':
        model.head.predictor.update(in_channels=16, hid_channels=32, out_channels=16)
    elif name != 'supervised':
        model.update(feat_dim=16, queue_len=16)
    loader.update(batch_size=batch_size, num_workers=1, persistent_workers=True, pin_memory=False)
    _shrink(loader.dataset.pipeline)
    cfg.train_cfg.max_epochs = epochs
    schedules = (
        cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
    )
    for schedule in schedules:
        if 'warmup' in schedule:
            schedule.update(warmup=int(epochs > 1), end=epochs)
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.default_hooks.logger.interval = 1
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'{name}_{work_dir.parent.name}_{work_dir.name}'
    cfg.log_level = 'WARNING'
    return cfg


def _shrink(node):
    """Views of 64 pixels, wherever a pipeline says 224."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ('scale', 'size') and value == 224:
                node[key] = SIDE
            else:
                _shrink(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            _shrink(item)


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """Two classes of four images."""
    root = tmp_path_factory.mktemp('photographs')
    for seed, name in enumerate(('a', 'b')):
        write_photographs(root / name, 4, patch=40, seed=seed)
    return root


@pytest.mark.parametrize('name', NAMES)
def test_resumed_equals_unbroken(name, photographs, tmp_path):
    """Weights, momentum copies, queues, optimizer, schedules, losses."""
    resumed_equals_unbroken(
        lambda work_dir: small(name, photographs, work_dir),
        tmp_path,
        moving=('backbone.conv1.weight', *STATE[name]),
    )


@pytest.mark.parametrize('name', NAMES)
def test_trains_on_real_images_and_hands_its_backbone_on(name, shared_data, tmp_path):
    images = shared_data / 'natural' / 'imagenet_sample' / 'train'
    if name == 'supervised':  # of the thousand classes, two
        for folder in sorted(images.iterdir())[:2]:
            for i, file in enumerate(sorted(folder.iterdir())[:1] * 4):
                target = tmp_path / 'two' / folder.name / f'{i}{file.suffix}'
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(file)
        images = tmp_path / 'two'
    cfg = small(name, images, tmp_path / 'work', epochs=1)
    cfg.train_dataloader.dataset.indices = 8
    init_default_scope(cfg.default_scope)
    runner = train(cfg)
    losses = runner.message_hub.log_scalars['train/loss'].data[0]
    assert len(losses) == 2
    assert all(abs(loss) < 20 for loss in losses)
    backbone_is_handed_on(runner, tmp_path / 'work' / 'epoch_1.pth')


class TargetWatch(Hook):
    """A weight of BYOL's online network before each step, and of the target that the step used."""

    def __init__(self):
        self.online, self.target = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.online.append(runner.model.backbone.conv1.weight.detach().double())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        weight = runner.model.target_net.module[0].conv1.weight
        self.target.append(weight.double())
        assert not weight.requires_grad


def test_byols_target_follows_over_a_run(photographs, tmp_path):
    """xi_0 = theta_0, xi_t = tau_t xi_t-1 + (1 - tau_t) theta_t with all 6 steps of the run as T.

    theta_t is what step t - 1 left, so the target moves after the step (BYOL, section 3.1).
    """
    cfg, watch = small('byol', photographs, tmp_path / 'work'), TargetWatch()
    init_default_scope(cfg.default_scope)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(watch)
    runner.train()
    assert len(watch.online) == 6 == runner.max_iters
    expected = watch.online[0]
    for t, (online, target) in enumerate(zip(watch.online, watch.target, strict=False)):
        tau = 1 - (1 - 0.99) * (math.cos(math.pi * t / 6) + 1) / 2
        expected = tau * expected + (1 - tau) * online
        torch.testing.assert_close(target, expected, atol=1e-7, rtol=0)
    assert (watch.online[-1] - watch.target[-1]).abs().max() > 1e-4  # far beyond the tolerance


def test_random_leaves_its_first_weights(tmp_path, monkeypatch):
    """No step is made; the same seed gives the same network, another seed another one."""
    monkeypatch.chdir(tmp_path)

    def weights(folder, seed):
        cfg = Config.fromfile(CONFIGS / 'random_r50_in1k.py')
        cfg.model.backbone.update(NARROW)
        cfg.model.head.update(in_channels=64)
        cfg.randomness.seed = seed
        cfg.work_dir, cfg.experiment_name = str(tmp_path / folder), f'random_{folder}'
        cfg.log_level = 'WARNING'
        init_default_scope(cfg.default_scope)
        Runner.from_cfg(cfg).train()
        backbone = MODELS.build(dict(type='mmpretrain.ResNet', **NARROW))
        load_backbone(backbone, tmp_path / folder / 'epoch_0.pth')
        return backbone.state_dict()

    first, again, other = weights('a', 0), weights('b', 0), weights('c', 1)
    same(first, again)
    assert not torch.equal(first['conv1.weight'], other['conv1.weight'])
    assert first['bn1.running_mean'].abs().max() == 0  # nothing has passed through
