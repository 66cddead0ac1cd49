"""Every system of tables 2.1 to 2.3, at its real size, into every transfer: a few steps each.

Slow (two to four minutes a system on a core). The scores show that the parts fit, nothing more:

    pytest -m slow tests/test_configs/test_plumbing.py

writes them to ``$ORL_PLUMBING`` (default: work_dirs/plumbing), a JSON file a system.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
OUT = Path(os.environ.get('ORL_PLUMBING', ROOT / 'work_dirs' / 'plumbing')).resolve()
BASELINES = (
    'supervised random mocov1 mocov2 byol densecl detcon-b detcon-b_100e detcon-b_paper pixpro '
    'vader infomin'
)
SYSTEMS = re.sub(r'(\S+)', r'baselines/\1_r50_in1k', BASELINES).split()
SYSTEMS += ['r2o/r50_in1k', 'r2o/r50_in1k_official']


def run(command):
    """``train CONFIG ...`` as it is typed, ``train`` being a file of tools/; what it said."""
    tool, *words = command.split()
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / f'{tool}.py'), *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def pretrain(system, data):
    """Two steps of four images; the checkpoint."""
    folder = OUT / Path(system).name
    command = f'train configs/{system}.py --work-dir {folder}'
    if 'random' in system:
        run(command)
        return folder / 'epoch_0.pth'
    cfg = Config.fromfile(str(ROOT / 'configs' / f'{system}.py'))
    images, dataset = data / 'imagenet_sample' / 'train', 'train_dataloader.dataset'
    options = f'{dataset}.data_root={images} '
    if 'supervised' in system:
        options = f'{dataset}.data_root={images.parent} {dataset}.split=train '
        if cfg.train_dataloader.dataset.get('data_prefix') is not None:
            options += f'{dataset}.data_prefix=train '
    if 'vader' in system:
        options += f'model.backbone.init_cfg.checkpoint={OUT}/mocov2_r50_in1k/epoch_1.pth '
    run(
        f'{command} --no-validate --cfg-options default_hooks.checkpoint.interval=1 {options} '
        f'{dataset}.indices=8 train_dataloader.batch_size=4 train_dataloader.num_workers=1 '
        'train_cfg.max_epochs=1'
    )
    return folder / 'epoch_1.pth'


def transfer(name, kind, config, start, options, pattern):
    """Train a step or two, test; the numbers that the test prints."""
    folder, config = OUT / f'{kind}_{name}', f'configs/transfer/{config}.py'
    common = (
        f'--work-dir {folder} --cfg-options train_dataloader.num_workers=1 '
        'test_dataloader.num_workers=1 train_cfg.max_epochs=1 '
        f'default_hooks.checkpoint.interval=1 model.backbone.init_cfg.checkpoint={start} {options}'
    )
    said = run(f'train {config} --no-validate {common}')
    loaded = re.findall(r'ResNet: (\d+) of (\d+) tensors', said)
    assert set(loaded) == {('265', '265')}, 'the backbone was not loaded whole'
    said = run(f'test {config} {folder}/epoch_1.pth {common}')
    found = {key: float(value) for key, value in re.findall(pattern, said)}
    assert found, said[-2000:]
    return found


def data_root(folder, *splits):
    return ' '.join(f'{split}_dataloader.dataset.data_root={folder}' for split in splits)


@pytest.mark.slow
@pytest.mark.parametrize('system', SYSTEMS)
def test_pretrains_and_transfers(system, shared_data, tmp_path):
    data, name = shared_data / 'natural', Path(system).name
    start, found = pretrain(system, data), {}
    splits = ('train', 'val', 'test')
    found['voc'] = transfer(
        name,
        'voc',
        'voc/fcn_r50_train',
        start,
        data_root(data / 'VOCdevkit' / 'VOC2012', *splits)
        + ' train_dataloader.batch_size=2 train_dataloader.dataset.indices=4',
        r'(mIoU): ([\d.]+)',
    )
    for part in ('leftImg8bit', 'gtFine'):  # the sample is one frame of val
        (tmp_path / part).mkdir()
        for split in ('train', 'val'):
            (tmp_path / part / split).symlink_to(data / 'cityscapes' / part / 'val')
    found['cityscapes'] = transfer(
        name,
        'cityscapes',
        'cityscapes/fcn_r50',
        start,
        data_root(tmp_path, *splits)
        + ' train_dataloader.batch_size=1 train_dataloader.drop_last=False',
        r'(mIoU): ([\d.]+)',
    )
    try:
        import mmcv.ops  # noqa: F401
    except ImportError:
        found['coco'] = 'mmcv has no compiled ops: make ops'
    else:
        coco = f'{data / "coco"}/'
        found['coco'] = transfer(
            name,
            'coco',
            'coco/mask-rcnn_r50_fpn_1x',
            start,
            # Two steps give no object a score above 0.05.
            data_root(coco, 'train', 'test')
            + f' test_evaluator.ann_file={coco}annotations/instances_val2017.json '
            'train_dataloader.batch_size=1 train_dataloader.dataset.indices=2 '
            'test_dataloader.dataset.indices=4 model.test_cfg.rcnn.score_thr=0.',
            r'coco/(bbox_mAP|segm_mAP): (-?[\d.]+)',
        )
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f'{name}.json').write_text(json.dumps(dict(found, config=f'configs/{system}.py')))
