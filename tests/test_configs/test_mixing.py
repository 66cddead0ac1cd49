"""mmpretrain's BYOL and DenseCL with our parts, by our tool and by mmpretrain's own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

import orl_mm

ROOT = Path(__file__).parents[2]
OURS = ROOT / 'tools' / 'train.py'
MIXED = dict(
    byol='configs/r2o/mixing/byol_r50_in1k.py', densecl='configs/r2o/mixing/densecl_r50_in1k.py'
)
STOCK = dict(
    byol='mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py',
    densecl='mmpretrain::densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py',
    simsiam='mmpretrain::simsiam/simsiam_resnet50_8xb32-coslr-100e_in1k.py',
)


def stock_tool():
    import mmpretrain

    return Path(mmpretrain.__file__).parent / '.mim' / 'tools' / 'train.py'


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory):
    """ImageNet's layout with eight pictures."""
    root = tmp_path_factory.mktemp('imagenet')
    (root / 'train' / 'n0').mkdir(parents=True)
    generator = np.random.default_rng(0)
    for i in range(8):
        coarse = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((90, 80)).save(root / 'train' / 'n0' / f'{i}.png')
    (root / 'train.txt').write_text(''.join(f'n0/{i}.png 0\n' for i in range(8)))
    return root


def options(name, root, mixed):
    """What makes a config small: two steps of four pictures, a narrow ResNet-18, 64 x 64."""
    values = {
        'train_dataloader.dataset.data_root': str(root),
        'train_dataloader.dataset.ann_file': 'train.txt',
        'train_dataloader.batch_size': 4,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_cfg.max_epochs': 1,
        'model.backbone.depth': 18,
        'model.backbone.base_channels': 8,
        'model.backbone.stem_channels': 8,
        'default_hooks.logger.interval': 1,
    }
    views = 2 if mixed else 1  # where the view transform stands in the pipeline
    for kind in range(2 if name == 'byol' else 1):
        values[f'train_dataloader.dataset.pipeline.{views}.transforms.{kind}.0.scale'] = 64
    neck = 'model.neck.projector' if mixed and name == 'byol' else 'model.neck'
    values[f'{neck}.in_channels'] = 64
    if name == 'densecl':
        values['model.queue_len'] = 64
    if mixed:
        values.update({'param_scheduler.0.warmup': 0, 'param_scheduler.0.end': 1})
    return values


@pytest.mark.parametrize('name', sorted(MIXED))
def test_mixed_config_trains(name, imagenet, tmp_path):
    cfg = Config.fromfile(ROOT / MIXED[name])
    cfg.merge_from_dict(options(name, imagenet, mixed=True))
    cfg.merge_from_dict(
        dict(work_dir=str(tmp_path), experiment_name=tmp_path.name, log_level='WARNING')
    )
    runner = Runner.from_cfg(cfg)
    assert type(runner.model).__module__.startswith('mmpretrain.')
    before = runner.model.backbone.conv1.weight.detach().clone()
    runner.train()
    assert not torch.equal(before, runner.model.backbone.conv1.weight)
    pipeline = runner.train_dataloader.dataset.pipeline.transforms
    assert {type(t).__module__.split('.')[0] for t in pipeline[:3]} == {'orl_mm'}
    if name == 'byol':
        assert type(runner.model.neck) is orl_mm.models.necks.mask_pool_neck.MaskPoolNeck
        assert type(runner.optim_wrapper.optimizer).__module__.startswith('orl_mm.')


def test_without_masks_the_neck_is_the_stock_one():
    """The parts compute the same, so BYOL's results carry over."""
    cfg = Config.fromfile(ROOT / MIXED['byol'])
    stock = Config.fromfile(ROOT / MIXED['byol']).model.neck.projector
    size = dict(in_channels=16, hid_channels=32, out_channels=8, norm_cfg=dict(type='BN1d'))
    stock.update(size, type='mmpretrain.NonLinearNeck', with_avg_pool=True)
    cfg.model.neck.projector.update(size)
    ours = orl_mm.registry.MODELS.build(cfg.model.neck)
    theirs = orl_mm.registry.MODELS.build(stock)
    theirs.load_state_dict(ours.projector.state_dict())
    feats = (torch.randn(4, 16, 7, 7),)
    torch.testing.assert_close(ours(feats)[0], theirs(feats)[0])


def run_tool(tool, config, values, work_dir):
    command = [
        sys.executable,
        str(tool),
        config,
        '--work-dir',
        str(work_dir),
        '--no-persistent-workers',
        '--no-pin-memory',
        '--cfg-options',
        *(f'{key}={value}' for key, value in values.items()),
    ]
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=400)


def check(result, work_dir):
    text = result.stdout + result.stderr
    assert result.returncode == 0, text[-3000:]
    losses = [float(x) for x in re.findall(r' loss: (-?[\d.]+)', text)]
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    assert (work_dir / 'epoch_1.pth').is_file()


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(MIXED))
def test_stock_tool_runs_the_mixed_config(name, imagenet, tmp_path):
    result = run_tool(stock_tool(), MIXED[name], options(name, imagenet, mixed=True), tmp_path)
    check(result, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(STOCK))
def test_our_tool_runs_the_stock_config(name, imagenet, tmp_path):
    """Unchanged: its SyncBN, its optimizer, its hooks."""
    result = run_tool(OURS, STOCK[name], options(name, imagenet, mixed=False), tmp_path)
    check(result, tmp_path)
