"""A checkpoint of another network is refused by every way that a tool loads one."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseTTAModel
from mmengine.registry import init_default_scope
from mmengine.runner import checkpoint as mm_checkpoint
from mmengine.runner.checkpoint import load_checkpoint
from PIL import Image

from orl_mm.registry import MODELS
from orl_mm.weights import checkpoints_must_fit

ROOT = Path(__file__).resolve().parents[2]
CLASSIFIER = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier', data_preprocessor=dict(num_classes=2),
    backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=64))
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root='{root}/images',
                 pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
test_dataloader = train_dataloader
test_evaluator = dict(type='Accuracy')
train_cfg = dict(by_epoch=False, max_iters=1)
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.))
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1))
"""
BACKBONE = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8)


def r2o(**backbone):
    cfg = Config.fromfile(ROOT / 'configs/r2o/demo.py')
    init_default_scope('mmpretrain')
    cfg.model.backbone.update(BACKBONE, **backbone)
    cfg.model.neck.projector.update(in_channels=64, hid_channels=16)
    cfg.model.head.predictor.hid_channels = 16
    return MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Four images of two classes, a classifier's config, and checkpoints."""
    root = tmp_path_factory.mktemp('fit')
    rng = np.random.default_rng(0)
    for label in 'ab':
        (root / 'images' / label).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(
                root / 'images' / label / f'{number}.png'
            )
    (root / 'config.py').write_text(CLASSIFIER.replace('{root}', str(root)))
    torch.save(
        dict(state_dict={f'encoder.{i}.weight': torch.zeros(2) for i in range(9)}),
        root / 'foreign.pth',
    )
    network = r2o()
    torch.save(dict(state_dict=network.state_dict()), root / 'r2o.pth')
    torch.save(
        dict(
            state_dict={
                key: value
                for key, value in network.state_dict().items()
                if not key.startswith('target.')
            }
        ),
        root / 'online.pth',
    )
    torch.save(dict(state_dict=network.backbone.state_dict()), root / 'backbone.pth')
    return root


def call(monkeypatch, name, *words):
    spec = importlib.util.spec_from_file_location(f'{name}_tool', ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, words)])
    module.main()


PRETRAINED = 'model.backbone.init_cfg.type=Pretrained'
FILE = 'model.backbone.init_cfg.checkpoint={root}/'


@pytest.mark.parametrize(
    ('tool', 'words', 'said'),
    [
        (
            'test',
            ['{root}/foreign.pth'],
            'foreign.pth fills 0 of the 102 tensors of ImageClassifier',
        ),
        ('test', ['{root}/r2o.pth'], 'r2o.pth fills 100 of the 102 .* min_match=0.98'),
        (
            'train',
            ['load_from={root}/foreign.pth'],
            "foreign.pth fills 0 of the 100 tensors of ImageClassifier's backbone ResNet",
        ),
        (
            'train',
            ['load_from={root}/backbone.pth'],
            "under the prefix ''.*model.backbone.init_cfg type='orl_mm.PretrainedBackbone'",
        ),
        ('train', [PRETRAINED, FILE + 'foreign.pth'], 'fills 0 of the 100 tensors of ResNet'),
        (
            'train',
            [PRETRAINED, FILE + 'r2o.pth'],
            "r2o.pth fills 0 of the 100 .*prefix 'backbone.'.*PretrainedBackbone",
        ),
        (
            'train',
            [
                PRETRAINED,
                FILE + 'r2o.pth',
                'model.backbone.base_channels=16',
                'model.head.in_channels=128',
            ],
            'of another architecture',
        ),
        (
            'train',
            [PRETRAINED, FILE + 'foreign.pth', 'model.backbone.init_cfg.prefix=encoder'],
            'foreign.pth fills 0 of the 100',
        ),
    ],
)
def test_wrong_checkpoint_ends_in_one_line(root, tmp_path, monkeypatch, capsys, tool, words, said):
    words = [word.format(root=root) for word in words]
    words = words if tool == 'test' else ['--cfg-options', *words]
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, tool, root / 'config.py', *words, '--work-dir', tmp_path)
    lines = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith(f'{tool}.py: ')
    ]
    assert stop.value.code == 2
    assert len(lines) == 1
    assert re.search(said, lines[0])


@pytest.mark.parametrize(
    'words',
    [
        ['load_from={root}/r2o.pth'],  # the classifier's head is new
        [PRETRAINED, FILE + 'r2o.pth', 'model.backbone.init_cfg.prefix=backbone'],
        [PRETRAINED, FILE + 'backbone.pth'],
        ['model.backbone.init_cfg.type=orl_mm.PretrainedBackbone', FILE + 'r2o.pth'],
    ],
)
def test_weights_of_the_backbone_are_enough_to_train(root, tmp_path, monkeypatch, words):
    call(
        monkeypatch,
        'train',
        root / 'config.py',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        *[word.format(root=root) for word in words],
    )
    trained = torch.load(tmp_path / 'iter_1.pth', weights_only=False)['state_dict']
    given = torch.load(root / 'backbone.pth')['state_dict']
    assert all(
        torch.equal(trained[f'backbone.{name}'], value)  # the rate was 0
        for name, value in given.items()
        if name.endswith(('weight', 'bias'))
    )


def test_a_smaller_share_can_be_asked_for(root, tmp_path, monkeypatch):
    call(
        monkeypatch,
        'train',
        root / 'config.py',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        f'load_from={root}/foreign.pth',
        'min_match=0',
    )
    assert (tmp_path / 'iter_1.pth').is_file()
    call(
        monkeypatch,
        'test',
        root / 'config.py',
        root / 'r2o.pth',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'min_match=0.9',
    )


def test_an_online_network_alone_starts_r2o(root):
    model = r2o()
    with checkpoints_must_fit():
        load_checkpoint(model, str(root / 'online.pth'))
    given = torch.load(root / 'online.pth')['state_dict']
    assert torch.equal(model.target['backbone'].conv1.weight, given['backbone.conv1.weight'])
    with pytest.raises(ValueError, match='fills 0 of the 100'), checkpoints_must_fit():
        load_checkpoint(model, str(root / 'backbone.pth'))


def test_other_shapes_are_not_filled(root):
    other, said = r2o(base_channels=4, stem_channels=4), "0 of the 100 tensors of R2O's backbone"
    with pytest.raises(ValueError, match=said), checkpoints_must_fit():
        load_checkpoint(other, str(root / 'r2o.pth'))


def test_weights_resized_while_loading_count(tmp_path):
    """A ViT takes over position embeddings of another image size."""
    init_default_scope('mmpretrain')
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)
    vit = dict(type='VisionTransformer', arch=arch, patch_size=8)
    torch.save(MODELS.build(dict(vit, img_size=32)).state_dict(), tmp_path / 'vit.pth')
    with checkpoints_must_fit(whole=True, min_match=1.0):
        load_checkpoint(MODELS.build(dict(vit, img_size=64)), str(tmp_path / 'vit.pth'))


def test_a_model_wrapped_for_augmented_testing_counts_without_its_wrapper(root):

    class Flips(BaseTTAModel):
        def merge_preds(self, data_samples_list):
            return data_samples_list

    with checkpoints_must_fit(whole=True, min_match=1.0):
        load_checkpoint(Flips(r2o()), str(root / 'r2o.pth'))
    with pytest.raises(ValueError, match='tensors of R2O'), checkpoints_must_fit(whole=True):
        load_checkpoint(Flips(r2o()), str(root / 'backbone.pth'))


def test_mmengine_is_left_as_it_was(root):
    before = mm_checkpoint.load_state_dict
    with pytest.raises(ValueError, match='fills 0'), checkpoints_must_fit():
        load_checkpoint(r2o(), str(root / 'foreign.pth'))
    assert mm_checkpoint.load_state_dict is before
    load_checkpoint(r2o(), str(root / 'foreign.pth'))
