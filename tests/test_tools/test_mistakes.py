"""Mistakes in data, caches, checkpoints and parts end tools/train.py in one line, exit code 2."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
R2O = ROOT / 'configs/r2o/demo.py'
IN100 = ROOT / 'configs/r2o/r50_in100_k16.py'
BYOL = 'mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py'
DATA = 'train_dataloader.dataset'


def call(monkeypatch, name, *words):
    spec = importlib.util.spec_from_file_location(f'{name}_tool', ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, words)])
    module.main()


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A folder of three images, one without, checkpoints, and small configs."""
    root = tmp_path_factory.mktemp('mistakes')
    (root / 'empty').mkdir()
    (root / 'images').mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(
            root / 'images' / f'{number}.png'
        )
    torch.save(dict(state_dict={'a': torch.zeros(1)}), root / 'weights.pth')
    torch.save(dict(state_dict={}, cfg=Config(dict(a=1))), root / 'code.pth')
    (root / 'cut.pth').write_bytes((root / 'weights.pth').read_bytes()[:300])
    small = Config.fromfile(R2O)
    small.train_dataloader.update(num_workers=0, batch_size=2)
    small.train_dataloader.dataset.type = 'orl_mm.ImageList'
    small.train_dataloader.dataset.data_root = str(root / 'images')
    for part in (small.model.neck.projector, small.model.head.predictor):
        part.hid_channels = 16
    small.model.backbone.update(base_channels=8, stem_channels=8)
    small.model.neck.projector.in_channels = 64
    small.auto_scale_lr.enable = False
    small.train_cfg.max_iters = 1
    small.param_scheduler = None
    small.custom_hooks = [
        hook
        for hook in small.custom_hooks
        if 'Visual' not in hook.type and 'SayWhere' not in hook.type
    ]
    small.dump(root / 'small.py')
    return root


SMALL = '{files}/small.py'


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (
            [R2O, f'{DATA}.type=orl_mm.ImageList', f'{DATA}.data_root=no/such'],
            "data_root='no/such' is not a folder; give it with --cfg-options",
        ),
        ([SMALL, f'{DATA}.data_root={{files}}/empty'], 'no image below .*/empty'),
        ([IN100, f'{DATA}.data_root={{files}}/images'], '100 of the 100 classes.*have no folder'),
        (
            [SMALL, f'{DATA}.pipeline.2.cache={{files}}/empty'],
            'no cached superpixel masks in .*/empty; build them with python tools/cache_',
        ),
        ([SMALL, f'{DATA}.pipeline.2.cahce=x'], 'GenerateSuperpixels.*cahce'),
        ([SMALL, 'model.views=together'], "views must be one of .*'together'"),
        ([SMALL, 'load_from={files}/code.pth'], 'code.pth holds mmengine.* not data'),
        ([SMALL, 'load_from={files}/cut.pth'], 'cut.pth cannot be read'),
        ([SMALL, 'load_from={files}/none.pth'], 'none.pth can not be found'),
        ([SMALL, 'load_from={files}/weights.pth', 'min_match=2'], 'min_match must be a share'),
        (
            [
                SMALL,
                'model.backbone.init_cfg.type=Pretrained',
                'model.backbone.init_cfg.checkpoint={files}/code.pth',
            ],
            'code.pth holds mmengine',
        ),
        (
            [
                SMALL,
                'model.backbone.init_cfg.type=orl_mm.PretrainedBackbone',
                'model.backbone.init_cfg.checkpoint={files}/weights.pth',
            ],
            'holds 0 of the 100 tensors of ResNet',
        ),
        (
            [SMALL, 'train_dataloader.batch_size=32', 'train_dataloader.drop_last=True'],
            'an epoch has 0 iterations: 3 images, batch 32, drop_last=True; lower train_dataloader',
        ),
        ([BYOL], r'ImageNet.*data/imagenet'),
        pytest.param(
            [SMALL, 'optim_wrapper.type=AmpOptimWrapper'],
            'Amp.* only available',
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason='legal on a GPU'),
        ),
    ],
)
def test_mistakes_end_in_one_line(files, tmp_path, monkeypatch, capsys, words, said):
    config, *options = [str(word).format(files=files) for word in words]
    with pytest.raises(SystemExit) as stop:
        call(
            monkeypatch,
            'train',
            config,
            '--work-dir',
            tmp_path,
            *(['--cfg-options', *options] if options else []),
        )
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('train.py: ')]
    assert stop.value.code == 2
    assert len(lines) == 1, lines
    assert re.search(said, lines[0]), lines


def test_resume_of_weights_alone(files, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        call(
            monkeypatch,
            'train',
            files / 'small.py',
            '--work-dir',
            tmp_path,
            '--resume',
            files / 'weights.pth',
            '--cfg-options',
            'min_match=0',
        )
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert re.search(r"train.py: .*weights.pth has no 'meta'.*load_from=.*weights.pth", err)


def test_masks_missing_in_a_cache_are_told_from_training(files, tmp_path, monkeypatch, capsys):
    """The one mistake of data that shows only when an image is read, also by a worker."""
    call(
        monkeypatch,
        'cache_superpixels',
        '--config',
        files / 'small.py',
        '--out',
        tmp_path / 'cache',
        '--workers',
        1,
    )
    for mask in (tmp_path / 'cache').rglob('*.png'):
        mask.unlink()
    for workers in (0, 1):
        with pytest.raises(SystemExit) as stop:
            call(
                monkeypatch,
                'train',
                files / 'small.py',
                '--work-dir',
                tmp_path / 'work',
                '--cfg-options',
                f'{DATA}.pipeline.2.cache={tmp_path}/cache',
                f'train_dataloader.num_workers={workers}',
            )
        lines = [
            line for line in capsys.readouterr().err.splitlines() if line.startswith('train.py: ')
        ]
        assert stop.value.code == 2
        assert len(lines) == 1
        assert re.search(
            'the cached superpixel mask of .*png is missing .*rebuild it with python', lines[0]
        )


def test_errors_inside_training_keep_their_traceback(files, tmp_path, monkeypatch):
    from orl_mm.models import R2O as Model

    def fail(*args, **kwargs):
        raise ValueError('a fault of the code')

    monkeypatch.setattr(Model, 'loss', fail)
    with pytest.raises(ValueError, match='a fault of the code'):
        call(monkeypatch, 'train', files / 'small.py', '--work-dir', tmp_path)


@pytest.mark.parametrize(('steps', 'factor'), [(1, 2 / 8), (4, 8 / 8)])
def test_auto_scale_lr_counts_accumulation(files, tmp_path, monkeypatch, steps, factor):
    call(
        monkeypatch,
        'train',
        files / 'small.py',
        '--work-dir',
        tmp_path,
        '--auto-scale-lr',
        '--cfg-options',
        'auto_scale_lr.base_batch_size=8',
        'optim_wrapper.optimizer.lr=1',
        f'optim_wrapper.accumulative_counts={steps}',
        # Two runs of one process within a second would share a name, and so a log.
        f'experiment_name=accumulation_{steps}',
    )
    state = torch.load(tmp_path / 'iter_1.pth', weights_only=False)
    assert state['optimizer']['param_groups'][0]['lr'] == pytest.approx(factor)
    log = next(tmp_path.rglob('*.log')).read_text()
    assert ('accumulative_counts=4 iterations make one step' in log) == (steps == 4)
    # The config that a later run starts from still says 8.
    assert Config.fromfile(tmp_path / 'small.py').auto_scale_lr.base_batch_size == 8
