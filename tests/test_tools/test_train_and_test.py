"""tools/train.py and tools/test.py, on a small stock classifier and on arguments alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from PIL import Image

from orl_mm.engine.cli import UserError
from tests.small import call_tool, ends_in_one_line, load_tool

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=2),
    backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=64,
              loss=dict(type='CrossEntropyLoss')))
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root='{root}', pipeline=pipeline))
val_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root='{root}', pipeline=pipeline))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='Accuracy')
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
default_hooks = dict(logger=dict(type='LoggerHook', interval=1),
                     visualization=dict(type='VisualizationHook'))
visualizer = dict(type='UniversalVisualizer',
                  vis_backends=[dict(type='LocalVisBackend')])
auto_scale_lr = dict(base_batch_size=4)
"""


def merged(name, monkeypatch, cfg, words):
    """``cfg`` after the tool has applied the arguments ``words``."""
    module = load_tool(name)
    argv = [f'{name}.py', str(ROOT / 'configs/r2o/demo.py'), *words.split()]
    monkeypatch.setattr('sys.argv', argv)
    return module.merge_args(cfg, module.parse_args())


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """Four small images of two classes and a classifier's config."""
    root = tmp_path_factory.mktemp('tools')
    rng = np.random.default_rng(0)
    for name in ('a/a0', 'a/a1', 'b/b0', 'b/b1'):
        path = root / f'images/{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(path)
    path = root / 'config.py'
    path.write_text(CONFIG.replace('{root}', str(root / 'images')))
    return path


def test_train_then_test_then_resume(config, tmp_path, monkeypatch):
    norm = 'model.backbone.norm_cfg.type=SyncBN'
    train, test = f'train {config} --work-dir {tmp_path}/a', f'--work-dir {tmp_path}/b'
    call_tool(monkeypatch, f'{train} --cfg-options {norm}')
    checkpoint = tmp_path / 'a' / 'epoch_1.pth'
    assert checkpoint.is_file()

    metrics = f'--out {tmp_path}/metrics.json --out-item metrics --show-dir {tmp_path}/shown'
    call_tool(monkeypatch, f'test {config} {checkpoint} {test} {metrics}')
    assert set(json.loads((tmp_path / 'metrics.json').read_text())) == {'accuracy/top1'}
    assert len(list((tmp_path / 'shown').glob('*.png'))) == 4

    call_tool(monkeypatch, f'test {config} {checkpoint} {test} --out {tmp_path}/p.pkl --tta')
    assert (tmp_path / 'p.pkl').stat().st_size > 0

    call_tool(monkeypatch, f'{train} --resume --cfg-options train_cfg.max_epochs=2')
    assert (tmp_path / 'a' / 'last_checkpoint').read_text().endswith('epoch_2.pth')


OPTION = '{config} --cfg-options '


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ('none.py', "'none.py' does not exist"),
        ('{config} --resume none.pth', "'none.pth' does not exist"),
        ('{config} --ressume', 'did you mean --resume'),
        ('{config} --amp', '--amp needs a GPU'),
        ('{config} --launcher pytorch', 'tools/dist_train.sh'),
        (OPTION + 'optim_wraper.type=X', "'optim_wrapper'"),
        (OPTION + 'model.backbone.dept=18', "ResNet.* argument 'dept'; did you mean 'depth'"),
        (OPTION + 'train_dataloader.batchsize=2', "DataLoader.* argument 'batchsize'"),
        (OPTION + 'train_dataloader.dataset.root=x', "argument 'root'"),
        (OPTION + 'model.type=ImageClasifier', "Did you mean 'mmpretrain.ImageClassifier'"),
        (OPTION + 'train_cfg.max_epoch=2', "'max_epoch'"),
        (
            OPTION + 'param_scheduler.type=CosineAnealingLR',
            "registry.* Did you mean 'CosineAnnealingLR'",
        ),
        ('{config} --work-dir {config}', 'config.py: .*a file is where a folder should be'),
        (OPTION + 'optim_wrapper.optimizer.lr=1e38 train_cfg.max_epochs=9', 'loss .*No checkpoint'),
    ],
)
def test_mistakes_end_in_one_line(config, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.delenv('RANK', raising=False)
    command = f'train --work-dir {tmp_path} {words.format(config=config)}'
    ends_in_one_line(monkeypatch, capsys, command, message)


def test_test_without_checkpoint_or_test_set(config, tmp_path, monkeypatch, capsys):
    ends_in_one_line(monkeypatch, capsys, f'test {config} {tmp_path}/none.pth', 'none.pth')
    bare = tmp_path / 'bare.py'
    bare.write_text('model = dict()')
    message = 'testing needs test_dataloader'
    ends_in_one_line(monkeypatch, capsys, f'test {bare} {bare}', message)


class Opener:
    """An object whose unpickling calls ``open``."""

    def __reduce__(self):
        return open, (__file__,)


def test_checkpoint_with_code_ends_in_one_line(config, tmp_path, monkeypatch, capsys):
    path = tmp_path / 'code.pth'
    torch.save(dict(state_dict={}, meta=Opener()), path)
    command = f'test {config} {path} --work-dir {tmp_path}/w'
    ends_in_one_line(monkeypatch, capsys, command, 'code.pth')


def test_train_arguments_reach_the_config(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    words = '--amp --resume --auto-scale-lr --no-validate --no-pin-memory'
    cfg = merged('train', monkeypatch, Config.fromfile(config), words)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    assert (cfg.resume, cfg.load_from) == (True, None)
    assert cfg.auto_scale_lr.enable is True
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert cfg.train_dataloader.pin_memory is False
    assert cfg.work_dir == 'work_dirs/demo'
    cfg = merged('train', monkeypatch, Config.fromfile(config), f'--resume {config}')
    assert (cfg.resume, cfg.load_from) == (True, str(config))


@pytest.mark.parametrize(
    ('words', 'wrapper'),
    [
        ('--amp', dict(type='AmpOptimWrapper', loss_scale='dynamic')),
        ('--precision fp16', dict(type='AmpOptimWrapper', loss_scale='dynamic', dtype='float16')),
        ('--amp --precision bf16', dict(type='orl_mm.BFloat16OptimWrapper')),  # no scaler
        ('--amp --cfg-options optim_wrapper.dtype=bfloat16 optim_wrapper.loss_scale=dynamic', None),
    ],
)
def test_precision(config, monkeypatch, words, wrapper):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: 'fp16' in words or words == '--amp')
    found = dict(merged('train', monkeypatch, Config.fromfile(config), words).optim_wrapper)
    found.pop('optimizer')
    assert found == (wrapper or dict(type='orl_mm.BFloat16OptimWrapper'))


def test_train_arguments_that_the_config_does_not_support(config, monkeypatch):
    cfg = Config.fromfile(config)
    cfg.pop('auto_scale_lr')
    with pytest.raises(UserError, match='auto_scale_lr.base_batch_size'):
        merged('train', monkeypatch, cfg, '--auto-scale-lr')
    cfg.optim_wrapper.type = 'OptimWrapperDict'
    with pytest.raises(UserError, match='OptimWrapperDict'):
        merged('train', monkeypatch, cfg, '--amp')


DETECTION = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
SEGMENTATION = 'mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py'


def test_mmdet_test_arguments(config, monkeypatch, tmp_path):
    pytest.importorskip('mmdet')
    words = f'{config} --show-dir {tmp_path} --tta --out a.pkl'
    cfg = merged('test', monkeypatch, get_config(DETECTION), words)
    assert cfg.default_hooks.visualization.draw is True
    assert cfg.default_hooks.visualization.test_out_dir == str(tmp_path)
    assert (cfg.model.type, cfg.model.module.type) == ('DetTTAModel', 'MaskRCNN')
    flips, pack = cfg.test_dataloader.dataset.pipeline[-1].transforms
    assert [flip.prob for flip in flips] == [1.0, 0.0]
    assert pack[0].type == 'PackDetInputs'
    assert 'flip' in pack[0].meta_keys
    assert 'collate_fn' not in cfg.test_dataloader
    with pytest.raises(UserError, match='.pkl file'):
        merged('test', monkeypatch, get_config(DETECTION), f'{config} --out a')


def test_mmseg_test_arguments(config, monkeypatch, tmp_path):
    pytest.importorskip('mmseg')
    words = f'{config} --show-dir {tmp_path} --tta --out maps'
    cfg = merged('test', monkeypatch, get_config(SEGMENTATION), words)
    assert cfg.default_hooks.visualization.draw is True
    assert cfg.visualizer.save_dir == str(tmp_path)
    assert cfg.model.type == 'SegTTAModel'
    assert (cfg.test_evaluator.output_dir, cfg.test_evaluator.keep_results) == ('maps', True)
    assert 'collate_fn' not in cfg.test_dataloader
