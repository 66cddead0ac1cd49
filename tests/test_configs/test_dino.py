"""DINO's config against the table of settings, and killed and resumed from its own recipe."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from orl_mm.registry import MODELS
from tests.settings import read, settings_are
from tests.small import resumed_equals_unbroken, tiny_dino

CONFIG = Path(__file__).parents[2] / 'configs' / 'baselines' / 'dino_vits16_in1k.py'


VIEWS = 'train_pipeline.MultiViewWithGeometry'
SETTINGS = {
    'model.head.out_channels': 65536,
    'model.head.hid_channels': 2048,
    'model.head.bottleneck_channels': 256,
    'model.head.norm_last_layer': True,
    'model.loss.student_temp': 0.1,
    'model.loss.center_momentum': 0.9,
    'model.backbone.drop_path_rate': 0.1,
    'custom_hooks.MomentumUpdateHook.momentum': 0.996,
    'custom_hooks.MomentumUpdateHook.end_momentum': 1.0,
    'custom_hooks.ScheduleHook.schedules': dict(teacher_temp=dict(values=[0.04])),
    'custom_hooks.ClipEachGradHook.max_norm': 3.0,
    'custom_hooks.FreezeLastLayerHook.epochs': 1,
    'optim_wrapper.optimizer': dict(type='AdamW', lr=1e-3, weight_decay=0.04),
    'auto_scale_lr.base_batch_size': 512,
    'train_dataloader.batch_size': 512 // 8,
    f'{VIEWS}.num_views': [1, 1, 8],
}


def test_settings_of_the_public_code():
    cfg = Config.fromfile(CONFIG)
    settings_are(cfg, SETTINGS)
    lr, decay = cfg.param_scheduler
    assert (lr.param_name, lr.warmup, lr.final) == ('lr', 10, 1e-6)
    assert (decay.param_name, decay.get('warmup', 0), decay.final) == ('weight_decay', 0, 0.4)
    found = [
        (v[0]['scale'], v[0]['crop_ratio_range'], v[4]['prob'], v[5]['prob'])
        for v in read(cfg, f'{VIEWS}.transforms')
    ]
    assert found == [
        (224, [0.4, 1.0], 1.0, 0.0),
        (224, [0.4, 1.0], 0.1, 0.2),
        (96, [0.05, 0.4], 0.5, 0.0),
    ]


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


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photographs')
    draw = np.random.default_rng(0)
    for i in range(6):
        patches = draw.integers(0, 256, (4, 4, 3)).repeat(16, 0).repeat(16, 1)
        Image.fromarray(patches.astype(np.uint8)).save(folder / f'{i}.png')
    return folder


def test_resumed_equals_unbroken(photographs, tmp_path):
    """Three epochs of two steps: a ViT 12 wide, two global crops of 32 and two of 16."""

    def config(work_dir):
        cfg = Config.fromfile(CONFIG)
        tiny_dino(cfg, photographs, locals_=2)
        cfg.update(work_dir=str(work_dir), experiment_name=f'dino_{work_dir.name}')
        return cfg

    prototypes = ('head.last_layer.weight_v', 'teacher.head.last_layer.weight_v')
    moving = ('criterion.center', 'backbone.cls_token', 'teacher.backbone.cls_token', *prototypes)
    first, whole = resumed_equals_unbroken(config, tmp_path, moving=moving)
    # In the first epoch they stood still, so teacher and student have the same ones.
    torch.testing.assert_close(*(first['state_dict'][key] for key in prototypes))
    scalars = whole['message_hub']['log_scalars']
    assert scalars['train/teacher_temp'].data[0].tolist()[-1] == 0.04
    assert scalars['train/momentum'].data[0].tolist()[0] == 0.996
    groups = first['optimizer']['param_groups']  # for the third of six steps
    expected = 0.4 + 0.5 * (0.04 - 0.4) * (1 + np.cos(np.pi * 2 / 6))
    assert groups[0]['weight_decay'] == pytest.approx(expected)
    assert groups[1]['weight_decay'] == 0
