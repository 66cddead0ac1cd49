"""tools/train.py and tools/test.py, on a small stock classifier and on arguments alone."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.hub import get_config
from PIL import Image

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


def tool(name):
    spec = importlib.util.spec_from_file_location(f'{name}_tool', ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(name, monkeypatch, *words):
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, words)])
    tool(name).main()


def merged(name, monkeypatch, cfg, *words):
    """``cfg`` after the tool has applied the arguments ``words``."""
    module = tool(name)
    path = ROOT / 'configs/r2o/demo.py'
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', str(path), *map(str, words)])
    return module.merge_args(cfg, module.parse_args())


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """Four small images of two classes and a classifier's config."""
    root = tmp_path_factory.mktemp('tools')
    rng = np.random.default_rng(0)
    for label in 'ab':
        (root / 'images' / label).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(
                root / 'images' / label / f'{label}{number}.png'
            )
    path = root / 'config.py'
    path.write_text(CONFIG.replace('{root}', str(root / 'images')))
    return path


def read(path):
    return Config.fromfile(path)


def test_train_then_test_then_resume(config, tmp_path, monkeypatch):
    call(
        'train',
        monkeypatch,
        config,
        '--work-dir',
        tmp_path / 'a',
        '--cfg-options',
        'model.backbone.norm_cfg.type=SyncBN',
    )
    checkpoint = tmp_path / 'a' / 'epoch_1.pth'
    assert checkpoint.is_file()

    metrics = tmp_path / 'metrics.json'
    call(
        'test',
        monkeypatch,
        config,
        checkpoint,
        '--work-dir',
        tmp_path / 'b',
        '--out',
        metrics,
        '--out-item',
        'metrics',
        '--show-dir',
        tmp_path / 'shown',
    )
    assert set(json.loads(metrics.read_text())) == {'accuracy/top1'}
    assert len(list((tmp_path / 'shown').glob('*.png'))) == 4

    predictions = tmp_path / 'predictions.pkl'
    call(
        'test',
        monkeypatch,
        config,
        checkpoint,
        '--work-dir',
        tmp_path / 'b',
        '--out',
        predictions,
        '--tta',
    )
    assert predictions.stat().st_size > 0

    call(
        'train',
        monkeypatch,
        config,
        '--work-dir',
        tmp_path / 'a',
        '--resume',
        '--cfg-options',
        'train_cfg.max_epochs=2',
    )
    log = (tmp_path / 'a' / 'last_checkpoint').read_text()
    assert log.endswith('epoch_2.pth')


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['none.py'], "'none.py' does not exist"),
        (['{config}', '--resume', 'none.pth'], "'none.pth' does not exist"),
        (['{config}', '--ressume'], 'did you mean --resume'),
        (['{config}', '--amp'], '--amp needs a GPU'),
        (['{config}', '--cfg-options', 'optim_wraper.type=X'], "'optim_wrapper'"),
        (
            ['{config}', '--cfg-options', 'model.backbone.dept=18'],
            "ResNet.* argument 'dept'; did you mean 'depth'",
        ),
        (
            ['{config}', '--cfg-options', 'train_dataloader.batchsize=2'],
            "DataLoader.* argument 'batchsize'",
        ),
        (['{config}', '--cfg-options', 'train_dataloader.dataset.root=x'], "argument 'root'"),
        (
            ['{config}', '--cfg-options', 'model.type=ImageClasifier'],
            "Did you mean 'mmpretrain.ImageClassifier'",
        ),
        (['{config}', '--cfg-options', 'train_cfg.max_epoch=2'], "'max_epoch'"),
        (['{config}', '--launcher', 'pytorch'], 'tools/dist_train.sh'),
    ],
)
def test_mistakes_end_in_one_line(config, tmp_path, monkeypatch, capsys, words, said):
    import re

    import torch

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(SystemExit) as stop:
        call(
            'train',
            monkeypatch,
            *[word.format(config=config) for word in words],
            '--work-dir',
            tmp_path,
        )
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('train.py: ')]
    assert stop.value.code == 2
    assert len(lines) == 1, lines
    assert re.search(said, lines[0]), lines


def test_test_without_checkpoint_or_test_set(config, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        call('test', monkeypatch, config, tmp_path / 'none.pth')
    assert stop.value.code == 2
    assert 'none.pth' in capsys.readouterr().err
    bare = tmp_path / 'bare.py'
    bare.write_text('model = dict()')
    with pytest.raises(SystemExit) as stop:
        call('test', monkeypatch, bare, bare)
    assert stop.value.code == 2
    assert 'testing needs test_dataloader' in capsys.readouterr().err


class Opener:
    """What a hostile pickle would call."""

    def __reduce__(self):
        return open, (__file__,)


def test_checkpoint_with_code_ends_in_one_line(config, tmp_path, monkeypatch, capsys):
    import torch

    path = tmp_path / 'code.pth'
    torch.save(dict(state_dict={}, meta=Opener()), path)
    with pytest.raises(SystemExit) as stop:
        call('test', monkeypatch, config, path, '--work-dir', tmp_path / 'w')
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('test.py: ')]
    assert stop.value.code == 2
    assert len(lines) == 1
    assert 'code.pth' in lines[0]


def test_train_arguments_reach_the_config(config, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = merged(
        'train',
        monkeypatch,
        read(config),
        '--amp',
        '--resume',
        '--auto-scale-lr',
        '--no-validate',
        '--no-pin-memory',
    )
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    assert (cfg.resume, cfg.load_from) == (True, None)
    assert cfg.auto_scale_lr.enable is True
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert cfg.train_dataloader.pin_memory is False
    assert cfg.work_dir == 'work_dirs/demo'
    cfg = merged('train', monkeypatch, read(config), '--resume', config)
    assert (cfg.resume, cfg.load_from) == (True, str(config))


def test_train_refuses_what_it_cannot_do(config, monkeypatch):
    from orl_mm.engine.cli import UserError

    cfg = read(config)
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
    cfg = merged(
        'test',
        monkeypatch,
        get_config(DETECTION),
        config,
        '--show-dir',
        tmp_path,
        '--tta',
        '--out',
        'a.pkl',
    )
    assert cfg.default_hooks.visualization.draw is True
    assert cfg.default_hooks.visualization.test_out_dir == str(tmp_path)
    assert cfg.model.type == 'DetTTAModel'
    assert cfg.model.module.type == 'MaskRCNN'
    flips, pack = cfg.test_dataloader.dataset.pipeline[-1].transforms
    assert [flip.prob for flip in flips] == [1.0, 0.0]
    assert pack[0].type == 'PackDetInputs'
    assert 'flip' in pack[0].meta_keys
    assert 'collate_fn' not in cfg.test_dataloader
    from orl_mm.engine.cli import UserError

    with pytest.raises(UserError, match='.pkl file'):
        merged('test', monkeypatch, get_config(DETECTION), config, '--out', 'a')


def test_mmseg_test_arguments(config, monkeypatch, tmp_path):
    pytest.importorskip('mmseg')
    cfg = merged(
        'test',
        monkeypatch,
        get_config(SEGMENTATION),
        config,
        '--show-dir',
        tmp_path,
        '--tta',
        '--out',
        'maps',
    )
    assert cfg.default_hooks.visualization.draw is True
    assert cfg.visualizer.save_dir == str(tmp_path)
    assert cfg.model.type == 'SegTTAModel'
    assert (cfg.test_evaluator.output_dir, cfg.test_evaluator.keep_results) == ('maps', True)
    assert 'collate_fn' not in cfg.test_dataloader
