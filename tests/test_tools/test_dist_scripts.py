"""The shell scripts as a user types them; no process group but in the slow test."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'r2o' / 'r50_in1k.py'


def shell(*words, path=None, **env):
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith('SLURM_')
            and key not in ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'RANK',
                            'WORLD_SIZE', 'LOCAL_RANK')}
    kept['PATH'] = (f'{path}:' if path else '') + kept['PATH']
    return subprocess.run(
        [str(word) for word in words], cwd=ROOT, text=True, capture_output=True,
        env={**kept, 'PYTHON': sys.executable, **env}, timeout=900)


@pytest.fixture
def srun(tmp_path):
    """A folder with an srun that prints what it was asked."""
    command = tmp_path / 'bin' / 'srun'
    command.parent.mkdir()
    command.write_text('#!/bin/sh\necho srun "$@"\n')
    command.chmod(0o755)
    return command.parent


def test_128_processes_stop_with_the_commands():
    done = shell('tools/dist_train.sh', 'configs/r2o/r50_in1k.py', 128)
    assert done.returncode == 2 and done.stdout == ''
    lines = done.stderr.splitlines()
    assert lines[0].startswith(
        'tools/dist_train.sh: 128 processes cannot run here')
    assert sum('NODE_RANK=' in line for line in lines) >= 3
    assert any(line.startswith('  srun ') for line in lines)
    assert 'Traceback' not in done.stderr


def test_dist_test_needs_its_checkpoint():
    done = shell('tools/dist_test.sh', CONFIG, 'none.pth', 1)
    assert (done.returncode, done.stderr) == (
        2, "tools/dist_test.sh: checkpoint 'none.pth' does not exist\n")


def test_slurm_train_asks_one_task_a_node(srun):
    done = shell('tools/slurm_train.sh', 'gpu', 'r2o', CONFIG, 'out', '--amp',
                 path=srun, GPUS='128', SRUN_ARGS='--time=1:00 --qos=x')
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        'srun', '--partition=gpu', '--job-name=r2o', '--nodes=16',
        '--ntasks=16', '--ntasks-per-node=1', '--gres=gpu:8',
        '--cpus-per-task=40', '--kill-on-bad-exit=1', '--time=1:00', '--qos=x',
        'tools/dist_train.sh', str(CONFIG), '128', '--work-dir', 'out', '--amp']


@pytest.mark.parametrize('words, env, said', [
    (['gpu', 'r2o'], {}, 'usage:'),
    (['gpu', 'r2o', 'none.py', 'out'], {}, "'none.py' does not exist"),
    (['gpu', 'r2o', CONFIG, 'out'], dict(GPUS='12'), 'not a multiple')])
def test_slurm_train_refuses(srun, words, env, said):
    done = shell('tools/slurm_train.sh', *words, path=srun, **env)
    assert done.returncode == 2 and said in done.stderr


def images(folder):
    """Eight small images in ``folder/images``."""
    rng = np.random.default_rng(0)
    (folder / 'images').mkdir()
    for number in range(8):
        Image.fromarray(rng.integers(0, 255, (48, 48, 3), np.uint8)).save(
            folder / 'images' / f'{number}.png')


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='for machines without a GPU')
def test_two_gloo_processes_train(tmp_path):
    """A stock BYOL with SyncBN, two processes of a machine without a GPU."""
    images(tmp_path)
    config = tmp_path / 'byol.py'
    config.write_text(f"""
_base_ = 'mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py'
model = dict(backbone=dict(depth=18, norm_cfg=dict(type='SyncBN')),
             neck=dict(in_channels=512, hid_channels=64, out_channels=32),
             head=dict(predictor=dict(in_channels=32, hid_channels=64,
                                      out_channels=32)))
crop = [dict(type='RandomResizedCrop', scale=32)]
train_dataloader = dict(
    batch_size=2, num_workers=0,
    dataset=dict(_delete_=True, type='CustomDataset',
                 data_root='{tmp_path}/images', with_label=False,
                 pipeline=[dict(type='LoadImageFromFile'),
                           dict(type='MultiView', num_views=[1, 1],
                                transforms=[crop, crop]),
                           dict(type='PackInputs')]))
train_cfg = dict(max_epochs=1)
""")
    done = shell('tools/dist_train.sh', config, 2, '--work-dir',
                 tmp_path / 'out', OMP_NUM_THREADS='1')
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (tmp_path / 'out' / 'epoch_1.pth').is_file()
    assert '2 processes speak through gloo' in done.stdout
    log = next((tmp_path / 'out').rglob('*.log')).read_text()
    assert '43 SyncBN layers became plain BN' in log


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='for machines without a GPU')
def test_r2o_trains_in_two_gloo_processes(tmp_path):
    images(tmp_path)
    done = shell('tools/dist_train.sh', 'configs/r2o/demo.py', 2, '--work-dir',
                 tmp_path / 'out', '--cfg-options', 'train_cfg.max_iters=2',
                 'train_dataloader.batch_size=4',
                 f'train_dataloader.dataset.data_root={tmp_path}/images',
                 OMP_NUM_THREADS='1')
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (tmp_path / 'out' / 'iter_2.pth').is_file()
    assert 'SyncBN layers became plain BN' in done.stdout
