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

from tests.settings import MEAN, STD, flatten, hook_types, settings_are
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


SHARED = {
    # RGB with ImageNet's mean and deviation; stride 2 in the 3 x 3 convolution.
    'model.data_preprocessor.mean': MEAN,
    'model.data_preprocessor.std': STD,
    'model.data_preprocessor.bgr_to_rgb': True,
    'model.data_preprocessor.pad_size_divisor': 32,
    'model.type': 'MaskRCNN',
    'model.backbone.type': 'ResNet',
    'model.backbone.depth': 50,
    'model.backbone.style': 'pytorch',
    'model.backbone.out_indices': (0, 1, 2, 3),
    'model.neck.type': 'FPN',
    'model.roi_head.bbox_head.num_classes': 80,
    'randomness.seed': 0,
    'custom_imports.imports': ['orl_mm'],
    'custom_hooks.CheckDataHook.layout': 'coco',
}
for _loader, _split in (('train', 'train2017'), ('val', 'val2017'), ('test', 'val2017')):
    _data = f'{_loader}_dataloader.dataset'
    SHARED[f'{_data}.type'] = 'CocoDataset'
    SHARED[f'{_data}.data_root'] = 'data/coco/'
    SHARED[f'{_data}.ann_file'] = f'annotations/instances_{_split}.json'
    SHARED[f'{_data}.data_prefix'] = dict(img=f'{_split}/')
for _evaluator in ('val_evaluator', 'test_evaluator'):
    SHARED[f'{_evaluator}.type'] = 'CocoMetric'
    SHARED[f'{_evaluator}.metric'] = ['bbox', 'segm']
    SHARED[f'{_evaluator}.ann_file'] = 'data/coco/annotations/instances_val2017.json'


@pytest.mark.parametrize('name', ['one_x', 'published'])
def test_what_both_recipes_share(name, request):
    cfg = request.getfixturevalue(name)
    settings_are(cfg, SHARED)
    # SyncBN is replaced on a CPU; draws depend on the step.
    assert {'SyncBatchNormHook', 'SeedStepHook'} <= hook_types(cfg)
    assert ('SetEpochHook' in hook_types(cfg)) == (name == 'one_x')
    pretraining = Config.fromfile(CONFIGS / 'r2o' / 'r50_in1k.py').data_preprocessor
    assert (pretraining.mean, pretraining.std, pretraining.to_rgb) == (MEAN, STD, True)


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
    warmup, steps = one_x.param_scheduler
    has(warmup, type='LinearLR', start_factor=0.001, end=500)
    has(steps, type='MultiStepLR', by_epoch=True, milestones=[8, 11], gamma=0.1)
    resize = 'train_dataloader.dataset.pipeline.Resize'
    settings_are(
        one_x,
        {
            'train_cfg.type': 'EpochBasedTrainLoop',
            'train_cfg.max_epochs': 12,
            'train_dataloader.batch_size': 16 // 8,
            'auto_scale_lr.base_batch_size': 16,
            'optim_wrapper.optimizer': dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4),
            f'{resize}.scale': (1333, 800),
            f'{resize}.keep_ratio': True,
        },
    )


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
    optimizer = dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.00004)
    settings_are(
        published,
        {
            'train_cfg': dict(type='IterBasedTrainLoop', max_iters=24000, val_interval=2500),
            'train_dataloader.batch_size': 64 // 16,
            'auto_scale_lr.base_batch_size': 64,
            'train_dataloader.batch_sampler': None,
            'train_dataloader.sampler': dict(type='InfiniteSampler', shuffle=True),
            'optim_wrapper.optimizer': optimizer,
            'optim_wrapper.paramwise_cfg': dict(norm_decay_mult=0.0),
            # TEST.PRECISE_BN.NUM_ITER 200 of detectron2, EVAL_PERIOD 2500; 24000 is no multiple.
            'custom_hooks.TrainingPreciseBNHook.num_samples': 200 * 64,
            'custom_hooks.TrainingPreciseBNHook.interval': 2500,
            'default_hooks.checkpoint.interval': 2500,
            'default_hooks.checkpoint.by_epoch': False,
        },
    )
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
    pipeline = 'train_dataloader.dataset.pipeline'
    assert kinds(published.train_dataloader.dataset.pipeline) == (
        'LoadImageFromFile LoadAnnotations RandomResize RandomCrop FilterAnnotations '
        'RandomFlip PackDetInputs'
    )
    side = dict(scale=(1024, 1024), keep_ratio=True)
    settings_are(
        published,
        {
            f'{pipeline}.RandomResize': dict(side, type='RandomResize', ratio_range=(0.8, 1.25)),
            f'{pipeline}.RandomCrop': dict(
                type='RandomCrop',
                crop_type='absolute',
                crop_size=(1024, 1024),
                recompute_bbox=False,
                allow_negative_crop=True,
            ),
            f'{pipeline}.FilterAnnotations': dict(
                type='FilterAnnotations',
                min_gt_bbox_wh=(1e-5, 1e-5),
                by_box=True,
                by_mask=True,
                keep_empty=False,
            ),
            f'{pipeline}.RandomFlip.prob': 0.5,
            'val_dataloader.dataset.pipeline.Resize': dict(side, type='Resize'),
            'test_dataloader.dataset.pipeline.Resize': dict(side, type='Resize'),
        },
    )
