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
SYSTEMS = [
    f'baselines/{name}_r50_in1k'
    for name in (
        'supervised',
        'random',
        'mocov1',
        'mocov2',
        'byol',
        'densecl',
        'detcon-b',
        'detcon-b_100e',
        'detcon-b_paper',
        'pixpro',
        'vader',
        'infomin',
    )
] + ['r2o/r50_in1k', 'r2o/r50_in1k_official']


def run(tool, *args):
    """A tool of this project, as it is typed; what it said."""
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / f'{tool}.py'), *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def pretrain(system, data):
    """Two steps of four images; the checkpoint."""
    folder = OUT / Path(system).name
    options = ['default_hooks.checkpoint.interval=1']
    cfg = Config.fromfile(str(ROOT / 'configs' / f'{system}.py'))
    if 'random' in system:
        run('train', f'configs/{system}.py', '--work-dir', folder)
        return folder / 'epoch_0.pth'
    images = data / 'imagenet_sample' / 'train'
    if 'supervised' in system:
        options += [
            f'train_dataloader.dataset.data_root={images.parent}',
            'train_dataloader.dataset.split=train',
        ]
        if cfg.train_dataloader.dataset.get('data_prefix') is not None:
            options.append('train_dataloader.dataset.data_prefix=train')
    else:
        options.append(f'train_dataloader.dataset.data_root={images}')
    if 'vader' in system:
        start = OUT / 'mocov2_r50_in1k' / 'epoch_1.pth'
        options.append(f'model.backbone.init_cfg.checkpoint={start}')
    run(
        'train',
        f'configs/{system}.py',
        '--work-dir',
        folder,
        '--no-validate',
        '--cfg-options',
        *options,
        'train_dataloader.dataset.indices=8',
        'train_dataloader.batch_size=4',
        'train_dataloader.num_workers=1',
        'train_cfg.max_epochs=1',
    )
    return folder / 'epoch_1.pth'


def transfer(name, kind, config, start, options, pattern):
    """Train a step or two, test; the numbers that the test prints."""
    folder = OUT / f'{kind}_{name}'
    common = [
        'train_dataloader.num_workers=1',
        'test_dataloader.num_workers=1',
        'train_cfg.max_epochs=1',
        'default_hooks.checkpoint.interval=1',
        f'model.backbone.init_cfg.checkpoint={start}',
        *options,
    ]
    said = run(
        'train',
        f'configs/transfer/{config}.py',
        '--work-dir',
        folder,
        '--no-validate',
        '--cfg-options',
        *common,
    )
    loaded = re.findall(r'ResNet: (\d+) of (\d+) tensors', said)
    assert set(loaded) == {('265', '265')}, 'the backbone was not loaded whole'
    said = run(
        'test',
        f'configs/transfer/{config}.py',
        folder / 'epoch_1.pth',
        '--work-dir',
        folder,
        '--cfg-options',
        *common,
    )
    found = {key: float(value) for key, value in re.findall(pattern, said)}
    assert found, said[-2000:]
    return found


@pytest.mark.slow
@pytest.mark.parametrize('system', SYSTEMS)
def test_pretrains_and_transfers(system, shared_data, tmp_path):
    data, name = shared_data / 'natural', Path(system).name
    start, found = pretrain(system, data), {}
    voc = data / 'VOCdevkit' / 'VOC2012'
    found['voc'] = transfer(
        name,
        'voc',
        'voc/fcn_r50_train',
        start,
        [
            f'train_dataloader.dataset.data_root={voc}',
            f'test_dataloader.dataset.data_root={voc}',
            f'val_dataloader.dataset.data_root={voc}',
            'train_dataloader.batch_size=2',
            'train_dataloader.dataset.indices=4',
        ],
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
        [f'{loader}_dataloader.dataset.data_root={tmp_path}' for loader in ('train', 'val', 'test')]
        + ['train_dataloader.batch_size=1', 'train_dataloader.drop_last=False'],
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
            [
                f'train_dataloader.dataset.data_root={coco}',
                f'test_dataloader.dataset.data_root={coco}',
                f'test_evaluator.ann_file={coco}annotations/instances_val2017.json',
                'train_dataloader.batch_size=1',
                'train_dataloader.dataset.indices=2',
                'test_dataloader.dataset.indices=4',
                'model.test_cfg.rcnn.score_thr=0.',
            ],  # two steps give no object a score above 0.05
            r'coco/(bbox_mAP|segm_mAP): (-?[\d.]+)',
        )
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f'{name}.json').write_text(json.dumps(dict(found, config=f'configs/{system}.py')))
