"""Tools reject a checkpoint of another network, however it is loaded."""

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
from tests.small import NARROW, call_tool, ends_in_one_line

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


def r2o(**backbone):
    cfg = Config.fromfile(ROOT / 'configs/r2o/demo.py')
    init_default_scope('mmpretrain')
    cfg.model.backbone.update(dict(type='ResNet', **NARROW), **backbone)
    cfg.model.neck.projector.update(
        in_channels=8 * cfg.model.backbone.base_channels, hid_channels=16
    )
    cfg.model.head.predictor.hid_channels = 16
    return MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Four images of two classes, a classifier's config, and checkpoints."""
    root = tmp_path_factory.mktemp('fit')
    rng = np.random.default_rng(0)
    for name in ('a/0', 'a/1', 'b/0', 'b/1'):
        path = root / f'images/{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(path)
    (root / 'config.py').write_text(CLASSIFIER.replace('{root}', str(root)))
    network = r2o()
    state = network.state_dict()
    for name, weights in dict(
        foreign={f'encoder.{i}.weight': torch.zeros(2) for i in range(9)},
        r2o=state,
        online={key: value for key, value in state.items() if not key.startswith('target.')},
        backbone=network.backbone.state_dict(),
    ).items():
        torch.save(dict(state_dict=weights), root / f'{name}.pth')
    return root


PRETRAINED = 'model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint={root}/'
WIDE = ' model.backbone.base_channels=16 model.head.in_channels=128'


@pytest.mark.parametrize(
    ('tool', 'words', 'message'),
    [
        ('test', '{root}/foreign.pth', 'foreign.pth fills 0 of the 102 tensors of ImageClassifier'),
        ('test', '{root}/r2o.pth', 'r2o.pth fills 100 of the 102 .* min_match=0.98'),
        (
            'train',
            'load_from={root}/foreign.pth',
            'foreign.pth fills 0 of the 100 .*backbone ResNet',
        ),
        ('train', 'load_from={root}/backbone.pth', "prefix ''.* type='orl_mm.PretrainedBackbone'"),
        ('train', PRETRAINED + 'foreign.pth', 'fills 0 of the 100 tensors of ResNet'),
        ('train', PRETRAINED + 'r2o.pth', "0 of the 100 .*prefix 'backbone.'.*PretrainedBackbone"),
        ('train', PRETRAINED + 'r2o.pth' + WIDE, 'of another architecture'),
        (
            'train',
            PRETRAINED + 'foreign.pth model.backbone.init_cfg.prefix=encoder',
            'foreign.pth fills 0 of the 100',
        ),
    ],
)
def test_wrong_checkpoint_ends_in_one_line(
    root, tmp_path, monkeypatch, capsys, tool, words, message
):
    options = '--cfg-options ' if tool == 'train' else ''
    command = f'{tool} {root}/config.py --work-dir {tmp_path} {options}{words.format(root=root)}'
    ends_in_one_line(monkeypatch, capsys, command, message)


@pytest.mark.parametrize(
    'words',
    [
        'load_from={root}/r2o.pth',  # the classifier's head is new
        PRETRAINED + 'r2o.pth model.backbone.init_cfg.prefix=backbone',
        PRETRAINED + 'backbone.pth',
        PRETRAINED.replace('Pretrained', 'orl_mm.PretrainedBackbone') + 'r2o.pth',
    ],
)
def test_weights_of_the_backbone_are_enough_to_train(root, tmp_path, monkeypatch, words):
    train = f'train {root}/config.py --work-dir {tmp_path} --cfg-options'
    call_tool(monkeypatch, f'{train} {words.format(root=root)}')
    trained = torch.load(tmp_path / 'iter_1.pth', weights_only=False)['state_dict']
    given = torch.load(root / 'backbone.pth')['state_dict']
    for name, value in given.items():
        if name.endswith(('weight', 'bias')):  # the learning rate was 0
            assert torch.equal(trained[f'backbone.{name}'], value)


def test_min_match_can_be_lowered(root, tmp_path, monkeypatch):
    more = f'--work-dir {tmp_path} --cfg-options'
    load = f'load_from={root}/foreign.pth min_match=0'
    call_tool(monkeypatch, f'train {root}/config.py {more} {load}')
    assert (tmp_path / 'iter_1.pth').is_file()
    call_tool(monkeypatch, f'test {root}/config.py {root}/r2o.pth {more} min_match=0.9')


def test_online_network_initializes_both_networks_of_r2o(root):
    model = r2o()
    with checkpoints_must_fit():
        load_checkpoint(model, str(root / 'online.pth'))
    given = torch.load(root / 'online.pth')['state_dict']
    assert torch.equal(model.target['backbone'].conv1.weight, given['backbone.conv1.weight'])
    with pytest.raises(ValueError, match='fills 0 of the 100'), checkpoints_must_fit():
        load_checkpoint(model, str(root / 'backbone.pth'))
    other = r2o(base_channels=4, stem_channels=4)
    message = "0 of the 100 tensors of R2O's backbone"
    with pytest.raises(ValueError, match=message), checkpoints_must_fit():
        load_checkpoint(other, str(root / 'r2o.pth'))


def test_weights_resized_while_loading_count(tmp_path):
    """Position embeddings of a ViT at another image size."""
    init_default_scope('mmpretrain')
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)
    vit = dict(type='VisionTransformer', arch=arch, patch_size=8)
    torch.save(MODELS.build(dict(vit, img_size=32)).state_dict(), tmp_path / 'vit.pth')
    with checkpoints_must_fit(whole=True, min_match=1.0):
        load_checkpoint(MODELS.build(dict(vit, img_size=64)), str(tmp_path / 'vit.pth'))


def test_wrapper_for_test_time_augmentation_is_not_counted(root):
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
