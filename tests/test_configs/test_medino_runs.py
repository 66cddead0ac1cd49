"""MeDINO's configs train, guide, resume and say what is wrong, from files on the disk."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from orl_mm.registration.template import Template, write_template
from orl_mm.weights import load_weights
from tests.small import resumed_equals_unbroken, tiny_dino, train

CONFIGS = Path(__file__).parents[2] / 'configs' / 'medino'
PARTS = ('left_lung', 'right_lung', 'heart')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Six grey images, a polygon file and an average."""
    folder = tmp_path_factory.mktemp('xrays')
    draw = np.random.default_rng(0)
    (folder / 'images').mkdir()
    for i in range(6):
        patches = draw.integers(0, 256, (4, 4)).repeat(16, 0).repeat(20, 1)
        Image.fromarray(patches.astype(np.uint8)).save(folder / 'images' / f'{i}.png')
    maps = np.zeros((3, 8, 8), np.float32)
    maps[0, :, 4:], maps[1, :, :4], maps[2, 2:6, 2:6] = 0.9, 0.6, 0.8
    write_template(folder / 'average.npz', Template(PARTS, maps))
    return folder


def config(folder, name, source=None, pictures=False, **hook):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    tiny_dino(cfg, folder / 'images')
    if not pictures:  # which take longer than the training, as does starting workers
        kept = [h for h in cfg.custom_hooks if h.type != 'orl_mm.AttentionVisualizationHook']
        cfg.custom_hooks = kept
        cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'orl_mm.RegisteredTemplate' and source:
            step.source = str(source)
    for h in cfg.custom_hooks:
        if h.type == 'orl_mm.AttentionRegHook':
            h.interval = 1
            for key, value in hook.items():  # update() would merge head maps
                h[key] = value
        if h.type == 'orl_mm.AttentionVisualizationHook':
            h.update(num_images=2, interval=0)
    return cfg


def run(cfg, work_dir, epochs=3, **changes):
    cfg.train_cfg.max_epochs = epochs
    cfg.update(work_dir=str(work_dir), experiment_name=str(work_dir).replace('/', '_'), **changes)
    train(cfg)
    return load_weights(work_dir / f'epoch_{epochs}.pth')


def test_guided_run_resumed_equals_unbroken(folder, tmp_path):
    """Chest augmentation, averaged template, hook: weights, optimizer and schedules bit for bit."""
    name, source = 'vits16_chexpert_average', folder / 'average.npz'

    def make(work_dir):
        cfg = config(folder, name, source, pictures=True)
        cfg.update(work_dir=str(work_dir), experiment_name=f'guided_{work_dir.name}')
        return cfg

    _, whole = resumed_equals_unbroken(make, tmp_path, moving=['backbone.cls_token'])
    assert whole['meta']['attention_heads'] == dict(enumerate(PARTS))
    scalars = whole['message_hub']['log_scalars']
    for what in ('inside', 'outside', 'cls', 'coverage', 'ap'):
        values = scalars[f'train/attn_{what}/2_heart'].data[0]
        assert len(values) == 6
        assert np.isfinite(values).all()
    assert (tmp_path / 'whole' / 'attention' / 'latest.png').stat().st_size > 10000


@pytest.mark.parametrize(
    'name',
    [
        'vits16_chexpert_dino',
        'vits16_chexpert_dino-cxr-aug',
        'vits16_chexpert_triangular',
        'small/average',
    ],
)
def test_each_regimen_trains(folder, tmp_path, name):
    """From generic multi-crop (without local crops here) to guided heads."""
    checkpoint = run(
        config(folder, name, 'average' in name and folder / 'average.npz'),
        tmp_path / 'run',
        epochs=1,
        log_level='WARNING',
    )
    guided = 'dino' not in name
    assert ('attention_heads' in checkpoint['meta']) == guided
    losses = checkpoint['message_hub']['log_scalars']
    assert ('train/loss_attn_inside' in losses) == guided
    assert np.isfinite(losses['train/loss'].data[0]).all()


def test_mocov3_is_guided_by_the_same_lines(folder, tmp_path):
    """mmpretrain's MoCo v3: the hook's terms are in its loss, its heads in the checkpoint."""
    checkpoint = run(
        config(folder, 'mixing/vits16_chexpert_mocov3_triangular'),
        tmp_path / 'run',
        epochs=1,
        log_level='WARNING',
    )
    assert checkpoint['meta']['attention_heads'] == dict(enumerate(PARTS))
    scalars = checkpoint['message_hub']['log_scalars']
    # Attention is almost even at first: a head gives to its part about its share of the views.
    inside = scalars['train/attn_inside/1_right_lung'].data[0][0]
    assert 0.02 < inside < 0.4
    expected = (
        -1e-3
        * 64
        * sum(scalars[f'train/attn_inside/{h}_{p}'].data[0][0] for h, p in enumerate(PARTS))
    )
    assert scalars['train/loss_attn_inside'].data[0][0] == pytest.approx(expected, rel=1e-4)


def test_a_head_beyond_the_block_is_refused(folder, tmp_path):
    cfg = config(folder, 'vits16_chexpert_triangular', heads={0: 'left_lung', 3: 'heart'})
    with pytest.raises(ValueError, match=r'assigns \[3\].*3 heads'):
        run(cfg, tmp_path / 'run', log_level='WARNING')


def test_a_part_without_template_is_refused(folder, tmp_path):
    """The head map names the heart, the polygon file has lungs alone."""
    path = tmp_path / 'lungs.json'
    square = [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]
    path.write_text(json.dumps(dict(parts=dict(left_lung=square, right_lung=square))))
    cfg = config(folder, 'vits16_chexpert_triangular', path)
    with pytest.raises(ValueError, match="lack.*'heart'"):
        run(cfg, tmp_path / 'run', log_level='WARNING')


def test_other_images_other_parts(tmp_path):
    """Nothing is of chests: color pictures, one part of any name, one of two global crops."""
    (tmp_path / 'images').mkdir()
    draw = np.random.default_rng(1)
    for i in range(6):
        Image.fromarray(draw.integers(0, 256, (40, 60, 3), np.uint8)).save(
            tmp_path / 'images' / f'{i}.png'
        )
    path = tmp_path / 'sky.json'
    path.write_text(json.dumps(dict(parts=dict(sky=[[[0, 0], [1, 0], [1, 0.4], [0, 0.4]]]))))
    cfg = config(
        tmp_path, 'vits16_chexpert_triangular', path, heads={1: 'sky'}, lambda1=1e-2, lambda2=1e-2
    )
    checkpoint = run(cfg, tmp_path / 'run', epochs=1, log_level='WARNING')
    assert checkpoint['meta']['attention_heads'] == {1: 'sky'}
    assert torch.isfinite(checkpoint['state_dict']['backbone.cls_token']).all()
