"""COCO's two recipes, parameter by parameter; every difference from mmdet's stock 1x is named.

The numbers are those of the thesis, of mmdet's 1x, and of the authors' config_coco.yaml and
train.py.
"""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.optim import LinearLR, MultiStepLR

from tests.small import has, kinds

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SYNC = dict(type='SyncBN', requires_grad=True)


@pytest.fixture(scope='module')
def stock():
    return get_config('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py')


@pytest.fixture(scope='module')
def one_x():
    return Config.fromfile(CONFIGS / 'transfer' / 'coco' / 'mask-rcnn_r50_fpn_1x.py')


@pytest.fixture(scope='module')
def published():
    return Config.fromfile(CONFIGS / 'transfer' / 'coco' / 'mask-rcnn_r50_fpn_published.py')


def flatten(value, prefix=''):
    """Config keys to values; lists of dicts by index."""
    if isinstance(value, dict):
        items = [(key, item) for key, item in value.items() if key != '_scope_']
    elif isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
        items = list(enumerate(value))
    else:
        return {prefix: value}
    return {
        key: leaf
        for name, item in items
        for key, leaf in flatten(item, f'{prefix}.{name}' if prefix else str(name)).items()
    }


def difference(a, b, parts):
    a, b = (flatten({part: cfg.get(part) for part in parts}) for cfg in (a, b))
    nothing = object()
    return {key: b.get(key) for key in {**a, **b} if a.get(key, nothing) != b.get(key, nothing)}


NETWORK = {
    # SyncBN that learns in backbone, FPN and heads; nothing frozen.
    'model.backbone.norm_cfg.type': 'SyncBN',
    'model.backbone.norm_eval': False,
    'model.backbone.frozen_stages': -1,
    'model.neck.norm_cfg.type': 'SyncBN',
    'model.neck.norm_cfg.requires_grad': True,
    'model.roi_head.bbox_head.norm_cfg.type': 'SyncBN',
    'model.roi_head.bbox_head.norm_cfg.requires_grad': True,
    'model.roi_head.mask_head.norm_cfg.type': 'SyncBN',
    'model.roi_head.mask_head.norm_cfg.requires_grad': True,
    'model.backbone.init_cfg.type': 'orl_mm.PretrainedBackbone',
    'model.backbone.init_cfg.checkpoint': 'work_dirs/r50_in1k/epoch_300.pth',
}


def test_network_of_1x_is_the_stock_one_but_for_norms_and_weights(stock, one_x):
    assert difference(stock, one_x, ['model']) == NETWORK


def test_network_of_the_published_recipe(stock, published):
    assert difference(stock, published, ['model']) == {
        **NETWORK,
        'model.data_preprocessor.batch_augments.0.type': 'BatchFixedSizePad',
        'model.data_preprocessor.batch_augments.0.size': (1024, 1024),
        'model.data_preprocessor.batch_augments.0.pad_mask': True,
    }


@pytest.mark.parametrize('name', ['one_x', 'published'])
def test_input_is_that_of_pretraining(name, request):
    """RGB with ImageNet's mean and deviation; stride 2 in the 3 x 3 convolution."""
    cfg = request.getfixturevalue(name)
    given = cfg.model.data_preprocessor
    assert given.mean == [123.675, 116.28, 103.53]
    assert given.std == [58.395, 57.12, 57.375]
    assert given.bgr_to_rgb is True
    assert given.pad_size_divisor == 32
    pretraining = Config.fromfile(CONFIGS / 'r2o' / 'r50_in1k.py')
    normalised = pretraining.get('data_preprocessor') or pretraining.model.data_preprocessor
    assert list(normalised.mean) == given.mean
    assert list(normalised.std) == given.std
    assert normalised.get('to_rgb', True) is True
    backbone = cfg.model.backbone
    assert (backbone.type, backbone.depth, backbone.style) == ('ResNet', 50, 'pytorch')
    assert tuple(backbone.out_indices) == (0, 1, 2, 3)
    assert cfg.model.type == 'MaskRCNN'
    assert cfg.model.neck.type == 'FPN'
    assert cfg.model.roi_head.bbox_head.num_classes == 80


def test_rest_of_1x_is_stock(stock, one_x):
    """12 epochs, batch 16, lr 0.02; and, so that a resumed run is the same, seeded samples."""
    parts = [
        'train_dataloader',
        'val_dataloader',
        'test_dataloader',
        'val_evaluator',
        'test_evaluator',
        'optim_wrapper',
        'param_scheduler',
        'train_cfg',
        'val_cfg',
        'test_cfg',
        'auto_scale_lr',
        'default_hooks',
        'default_scope',
        'env_cfg',
    ]
    changed = difference(stock, one_x, parts)
    assert all(key.startswith('train_dataloader.dataset.pipeline.') for key in changed)
    first, *rest = one_x.train_dataloader.dataset.pipeline
    assert first == dict(type='orl_mm.SeedSample', seed=0)
    assert flatten(rest) == flatten(stock.train_dataloader.dataset.pipeline)


def test_numbers_of_1x(one_x):
    assert one_x.train_cfg.type == 'EpochBasedTrainLoop'
    assert one_x.train_cfg.max_epochs == 12
    assert one_x.train_dataloader.batch_size * 8 == 16 == one_x.auto_scale_lr.base_batch_size
    assert one_x.optim_wrapper.optimizer == dict(
        type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4
    )
    warmup, steps = one_x.param_scheduler
    assert (warmup.type, warmup.start_factor, warmup.end) == ('LinearLR', 0.001, 500)
    has(steps, type='MultiStepLR', by_epoch=True, milestones=[8, 11], gamma=0.1)
    (resize,) = [t for t in one_x.train_dataloader.dataset.pipeline if t.type == 'Resize']
    assert resize.scale == (1333, 800)
    assert resize.keep_ratio


@pytest.mark.parametrize('name', ['one_x', 'published'])
def test_train2017_and_val2017_box_and_mask(name, request):
    cfg = request.getfixturevalue(name)
    for loader, split in (
        ('train_dataloader', 'train2017'),
        ('val_dataloader', 'val2017'),
        ('test_dataloader', 'val2017'),
    ):
        data = cfg[loader].dataset
        assert (data.type, data.data_root) == ('CocoDataset', 'data/coco/')
        assert data.ann_file == f'annotations/instances_{split}.json'
        assert data.data_prefix == dict(img=f'{split}/')
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator.type == 'CocoMetric'
        assert evaluator.metric == ['bbox', 'segm']
        assert evaluator.ann_file == 'data/coco/annotations/instances_val2017.json'


@pytest.mark.parametrize('name', ['1x', 'published'])
def test_one_variable_moves_the_data(name, monkeypatch):
    monkeypatch.setenv('ORL_COCO', '/some/where')
    cfg = Config.fromfile(CONFIGS / 'transfer' / 'coco' / f'mask-rcnn_r50_fpn_{name}.py')
    used = {
        key: value
        for key, value in flatten(cfg._cfg_dict).items()
        if isinstance(value, str) and ('data/coco' in value or '/some/where' in value)
    }
    assert not any('data/coco' in value for value in used.values())
    assert {key.split('.')[0] for key in used} == {
        'data_root',
        'train_dataloader',
        'val_dataloader',
        'test_dataloader',
        'val_evaluator',
        'test_evaluator',
    }


def rates(cfg, steps, epoch_of=None):
    """The learning rate of each step, by mmengine's own schedulers."""
    weight = torch.nn.Parameter(torch.zeros(1))
    sgd = torch.optim.SGD([weight], lr=cfg.optim_wrapper.optimizer.lr)
    kinds = dict(LinearLR=LinearLR, MultiStepLR=MultiStepLR)
    schedulers = [
        kinds[s.type](sgd, **{k: v for k, v in s.items() if k not in ('type', '_scope_')})
        for s in cfg.param_scheduler
    ]
    found = []
    for _ in range(steps):
        found.append(sgd.param_groups[0]['lr'])
        sgd.step()
        for scheduler in schedulers:
            scheduler.step()
    return found


def test_numbers_of_the_published_recipe(published):
    """config_coco.yaml: IMS_PER_BATCH 64, BASE_LR 0.1, WARMUP_ITERS 500, STEPS 16000 and 21333."""
    assert published.train_cfg == dict(
        type='IterBasedTrainLoop', max_iters=24000, val_interval=2500
    )
    loader = published.train_dataloader
    assert loader.batch_size * 16 == 64 == published.auto_scale_lr.base_batch_size
    assert loader.batch_sampler is None
    assert loader.sampler == dict(type='InfiniteSampler', shuffle=True)
    assert published.optim_wrapper.optimizer == dict(
        type='SGD', lr=0.1, momentum=0.9, weight_decay=0.00004
    )
    assert published.optim_wrapper.paramwise_cfg == dict(norm_decay_mult=0.0)
    lr = rates(published, 24000)
    assert lr[0] == pytest.approx(0.1 * 0.001)
    assert lr[250] == pytest.approx(0.05, rel=0.01)
    assert lr[499] == pytest.approx(0.1)
    assert lr[498] < 0.0999
    for step, wanted in (
        (500, 0.1),
        (15999, 0.1),
        (16000, 0.01),
        (21332, 0.01),
        (21333, 0.001),
        (23999, 0.001),
    ):
        assert lr[step] == pytest.approx(wanted), step


def test_views_of_the_published_recipe(published):
    """train.py: longest side 1024 x U(0.8, 1.25), 1024 crop, flip; at test longest side 1024."""
    pipeline = published.train_dataloader.dataset.pipeline
    assert kinds(pipeline) == (
        'LoadImageFromFile LoadAnnotations RandomResize RandomCrop FilterAnnotations '
        'RandomFlip PackDetInputs'
    )
    resize, crop, flip = pipeline[2], pipeline[3], pipeline[5]
    assert resize.scale == (1024, 1024)
    assert resize.ratio_range == (0.8, 1.25)
    assert resize.keep_ratio
    assert crop.crop_size == (1024, 1024)
    assert crop.crop_type == 'absolute'
    assert (crop.recompute_bbox, crop.allow_negative_crop) == (False, True)
    assert pipeline[4] == dict(
        type='FilterAnnotations',
        min_gt_bbox_wh=(1e-5, 1e-5),
        by_box=True,
        by_mask=True,
        keep_empty=False,
    )
    assert flip.prob == 0.5
    for loader in (published.val_dataloader, published.test_dataloader):
        (resize,) = [t for t in loader.dataset.pipeline if t.type == 'Resize']
        assert resize.scale == (1024, 1024)
        assert resize.keep_ratio


def test_precise_bn_before_each_test(published):
    """TEST.PRECISE_BN.NUM_ITER 200 of detectron2, EVAL_PERIOD 2500; 24000 is no multiple."""
    (hook,) = [h for h in published.custom_hooks if h.type == 'orl_mm.TrainingPreciseBNHook']
    assert hook.num_samples == 200 * 64
    assert hook.interval == 2500 == published.train_cfg.val_interval
    assert published.default_hooks.checkpoint.interval == 2500
    assert published.default_hooks.checkpoint.by_epoch is False


@pytest.mark.parametrize('name', ['one_x', 'published'])
def test_hooks(name, request):
    """The data are looked at; SyncBN has a CPU's stand-in; draws depend on the step."""
    cfg = request.getfixturevalue(name)
    assert dict(type='orl_mm.CheckDataHook', layout='coco') in cfg.custom_hooks
    types = {hook.type for hook in cfg.custom_hooks}
    assert {'orl_mm.SyncBatchNormHook', 'orl_mm.SeedStepHook'} <= types
    assert ('orl_mm.SetEpochHook' in types) == (name == 'one_x')
    assert cfg.randomness.seed == 0
    assert cfg.custom_imports.imports == ['orl_mm']
