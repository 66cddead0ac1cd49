"""DINO's config against the table of settings, and killed and resumed from its own recipe."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from orl_mm.engine.checkpoint import load_weights
from orl_mm.registry import MODELS

CONFIG = Path(__file__).parents[2] / 'configs' / 'baselines' / 'dino_vits16_in1k.py'


def hook(cfg, name):
    found, = [h for h in cfg.custom_hooks if h.type == f'orl_mm.{name}']
    return found


def test_settings_of_the_public_code():
    cfg = Config.fromfile(CONFIG)
    head, loss = cfg.model.head, cfg.model.loss
    assert (head.out_channels, head.hid_channels, head.bottleneck_channels) == (65536, 2048, 256)
    assert head.norm_last_layer and loss.out_channels == 65536
    assert (loss.student_temp, loss.center_momentum) == (.1, .9)
    momentum = hook(cfg, 'MomentumUpdateHook')
    assert (momentum.momentum, momentum.end_momentum) == (.996, 1.)
    temp = hook(cfg, 'TeacherTemperatureHook')
    assert (temp.temp, temp.warmup_temp, temp.warmup_epochs) == (.04, .04, 0)
    assert hook(cfg, 'ClipEachGradHook').max_norm == 3.
    assert hook(cfg, 'FreezeLastLayerHook').epochs == 1
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-3, weight_decay=.04)
    assert cfg.auto_scale_lr.base_batch_size == 512 == 8 * cfg.train_dataloader.batch_size
    lr, decay = cfg.param_scheduler
    assert (lr.param_name, lr.warmup, lr.final, lr.end) == ('lr', 10, 1e-6, 100)
    assert (decay.param_name, decay.get('warmup', 0), decay.final) == ('weight_decay', 0, .4)
    assert cfg.model.backbone.drop_path_rate == .1
    views, = [t for t in cfg.train_pipeline if t.type == 'orl_mm.MultiViewWithGeometry']
    assert views.num_views == [1, 1, 8]
    found = [(v[0].scale, v[0].crop_ratio_range, v[4].prob, v[5].prob) for v in views.transforms]
    assert found == [
        (224, (.4, 1.), 1., 0.), (224, (.4, 1.), .1, .2), (96, (.05, .4), .5, 0.)]


def test_the_networks_are_those_of_the_reference():
    """ViT-S/16 of 21.67 M and its head; trained parameters of main_dino.py, g frozen."""
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(CONFIG).model)
    vit = 384 * (3 * 256 + 1) + 198 * 384 + 12 * (12 * 384**2 + 13 * 384) + 2 * 384
    assert sum(p.numel() for p in model.backbone.parameters()) == vit == 21665664
    mlp = 384 * 2048 + 2048 + 2048 * 2048 + 2048 + 2048 * 256 + 256
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == vit + mlp + 65536 * 256
    assert model.backbone.layers[-1].attn.num_heads == 6


class Kill(Hook):
    """End the process's work in the middle of an epoch, after its checkpoint was written."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch == 1 and batch_idx == 1:
            raise KeyboardInterrupt


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photographs')
    draw = np.random.default_rng(0)
    for i in range(6):
        patches = draw.integers(0, 256, (4, 4, 3)).repeat(16, 0).repeat(16, 1)
        Image.fromarray(patches.astype(np.uint8)).save(folder / f'{i}.png')
    return folder


def run(photographs, work_dir, kill=False, **changes):
    """Three epochs of two steps: a ViT 12 wide, two global crops of 32 and two of 16."""
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.update(img_size=32, patch_size=8, arch=dict(
        embed_dims=12, num_layers=2, num_heads=3, feedforward_channels=24))
    cfg.model.head.update(in_channels=12, hid_channels=16, bottleneck_channels=8, out_channels=20)
    cfg.model.loss.out_channels = 20
    views = cfg.train_dataloader.dataset.pipeline[2]
    views.num_views = [1, 1, 2]
    for view, size in zip(views.transforms, (32, 32, 16)):
        view[0].scale = size
    cfg.train_dataloader.update(batch_size=3, num_workers=1, pin_memory=False)
    cfg.train_dataloader.dataset.data_root = str(photographs)
    for schedule in cfg.param_scheduler:
        schedule.update(end=3, **(dict(warmup=1) if 'warmup' in schedule else {}))
    cfg.train_cfg.max_epochs = 3
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.update(work_dir=str(work_dir), experiment_name=f'dino_{work_dir.name}', **changes)
    runner = Runner.from_cfg(cfg)
    if kill:
        runner.register_hook(Kill())
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    else:
        runner.train()
    return load_weights(work_dir / ('epoch_1.pth' if kill else 'epoch_3.pth'))


def same(a, b, where=''):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            same(a[key], b[key], f'{where}.{key}')
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b)):
            same(x, y, f'{where}[{i}]')
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def test_killed_and_resumed_equals_unbroken(photographs, tmp_path):
    whole = run(photographs, tmp_path / 'whole')
    broken = run(photographs, tmp_path / 'broken', kill=True)
    resumed = run(photographs, tmp_path / 'resumed', resume=True,
                  load_from=str(tmp_path / 'broken' / 'epoch_1.pth'))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        same(whole[part], resumed[part], part)
    # Nothing above holds by standing still: centre, teacher and, from epoch 2 on, prototypes.
    first, last = broken['state_dict'], whole['state_dict']
    for key in ('criterion.center', 'backbone.cls_token', 'teacher.backbone.cls_token',
                'head.last_layer.weight_v', 'teacher.head.last_layer.weight_v'):
        assert not torch.equal(first[key], last[key]), key
    # In the first epoch they stood still, so teacher and student have the same ones.
    torch.testing.assert_close(first['head.last_layer.weight_v'],
                               first['teacher.head.last_layer.weight_v'], atol=1e-7, rtol=0)
    scalars = whole['message_hub']['log_scalars']
    assert scalars['train/teacher_temp'].data[0].tolist()[-1] == .04
    assert scalars['train/momentum'].data[0].tolist()[0] == .996
    groups = whole['optimizer']['param_groups']
    expected = .4 + .5 * (.04 - .4) * (1 + np.cos(np.pi * 5 / 6))
    assert groups[0]['weight_decay'] == pytest.approx(expected)
    assert groups[1]['weight_decay'] == 0
