"""Mistakes in data, caches, checkpoints and parts end tools/train.py in one line, exit code 2."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from orl_mm.models import R2O as Model
from tests.small import call_tool, ends_in_one_line

ROOT = Path(__file__).resolve().parents[2]
R2O = ROOT / 'configs/r2o/demo.py'
IN100 = ROOT / 'configs/r2o/r50_in100_k16.py'
BYOL = 'mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py'
DATA = 'train_dataloader.dataset'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A folder of three images, an empty one, checkpoints, and a small-scale config."""
    root = tmp_path_factory.mktemp('mistakes')
    (root / 'empty').mkdir()
    (root / 'images').mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        image = Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8))
        image.save(root / f'images/{number}.png')
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
    hooks = small.custom_hooks
    small.custom_hooks = [x for x in hooks if 'Visual' not in x.type and 'SayWhere' not in x.type]
    small.dump(root / 'small.py')
    return root


SMALL = '{files}/small.py --cfg-options '
BACKBONE = SMALL + 'model.backbone.init_cfg.'


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (
            f'{R2O} --cfg-options {DATA}.type=orl_mm.ImageList {DATA}.data_root=no/such',
            "data_root='no/such' is not a folder; give it with --cfg-options",
        ),
        (SMALL + f'{DATA}.data_root={{files}}/empty', 'no image below .*/empty'),
        (
            f'{IN100} --cfg-options {DATA}.data_root={{files}}/images',
            '100 of the 100 classes.*have no folder',
        ),
        (
            SMALL + f'{DATA}.pipeline.GenerateSuperpixels.cache={{files}}/empty',
            'no cached superpixel masks in .*/empty; build them with python tools/cache_',
        ),
        (SMALL + f'{DATA}.pipeline.GenerateSuperpixels.cahce=x', 'GenerateSuperpixels.*cahce'),
        (SMALL + 'model.views=together', "views must be one of .*'together'"),
        (SMALL + 'load_from={files}/code.pth', 'code.pth holds mmengine.* not data'),
        (SMALL + 'load_from={files}/cut.pth', 'cut.pth cannot be read'),
        (SMALL + 'load_from={files}/none.pth', 'none.pth can not be found'),
        (SMALL + 'load_from={files}/weights.pth min_match=2', 'min_match must be a share'),
        (
            BACKBONE + 'type=Pretrained model.backbone.init_cfg.checkpoint={files}/code.pth',
            'code.pth holds mmengine',
        ),
        (
            BACKBONE + 'type=orl_mm.PretrainedBackbone '
            'model.backbone.init_cfg.checkpoint={files}/weights.pth',
            'holds 0 of the 100 tensors of ResNet',
        ),
        (
            SMALL + 'train_dataloader.batch_size=32 train_dataloader.drop_last=True',
            'an epoch has 0 iterations: 3 images, batch 32, drop_last=True; lower train_dataloader',
        ),
        (BYOL, r'ImageNet.*data/imagenet'),
        pytest.param(
            SMALL + 'optim_wrapper.type=AmpOptimWrapper',
            'Amp.* only available',
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason='legal on a GPU'),
        ),
        (
            '{files}/small.py --resume {files}/weights.pth --cfg-options min_match=0',
            r"weights.pth has no 'meta'.*load_from=.*weights.pth",
        ),
    ],
)
def test_mistakes_end_in_one_line(files, tmp_path, monkeypatch, capsys, words, message):
    command = f'train --work-dir {tmp_path} {words.format(files=files)}'
    ends_in_one_line(monkeypatch, capsys, command, message)


@pytest.mark.parametrize('workers', [0, 1])
def test_masks_missing_in_a_cache(files, tmp_path, monkeypatch, capsys, workers):
    """The one mistake in the data that shows only when an image is read, also by a worker."""
    cache = tmp_path / 'cache'
    build = f'cache_superpixels --config {files}/small.py --out {cache} --workers 1'
    call_tool(monkeypatch, build)
    for mask in cache.rglob('*.png'):
        mask.unlink()
    options = f'{DATA}.pipeline.2.cache={cache} train_dataloader.num_workers={workers}'
    ends_in_one_line(
        monkeypatch,
        capsys,
        f'train {files}/small.py --work-dir {tmp_path}/work --cfg-options {options}',
        'the cached superpixel mask of .*png is missing .*rebuild it with python',
    )


def test_errors_inside_training_keep_their_traceback(files, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ValueError('a fault of the code')

    monkeypatch.setattr(Model, 'loss', fail)
    with pytest.raises(ValueError, match='a fault of the code'):
        call_tool(monkeypatch, f'train {files}/small.py --work-dir {tmp_path}')


@pytest.mark.parametrize(('steps', 'factor'), [(1, 2 / 8), (4, 8 / 8)])
def test_auto_scale_lr_counts_accumulation(files, tmp_path, monkeypatch, steps, factor):
    # Two runs of one process within a second would share a name, and so a log.
    options = (
        'auto_scale_lr.base_batch_size=8 optim_wrapper.optimizer.lr=1 '
        f'optim_wrapper.accumulative_counts={steps} experiment_name=accumulation_{steps}'
    )
    train = f'train {files}/small.py --work-dir {tmp_path} --auto-scale-lr'
    call_tool(monkeypatch, f'{train} --cfg-options {options}')
    state = torch.load(tmp_path / 'iter_1.pth', weights_only=False)
    assert state['optimizer']['param_groups'][0]['lr'] == pytest.approx(factor)
    log = next(tmp_path.rglob('*.log')).read_text()
    assert ('accumulative_counts=4 iterations make one step' in log) == (steps == 4)
    # The config that a later run starts from still has 8.
    assert Config.fromfile(tmp_path / 'small.py').auto_scale_lr.base_batch_size == 8
