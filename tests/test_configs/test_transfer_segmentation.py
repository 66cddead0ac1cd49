"""FCN on VOC and Cityscapes, parameter by parameter.

The numbers are those of the thesis (45 and 160 epochs) and of the authors' config_pascal.py and
config_cityscapes.py.
"""

from pathlib import Path

import pytest
from mmengine.config import Config

from tests.small import has

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
TRANSFER = CONFIGS / 'transfer'
SETS = ('voc', 'cityscapes')
SYNC = dict(type='SyncBN', requires_grad=True)


@pytest.fixture(scope='module')
def configs():
    return {name: Config.fromfile(TRANSFER / name / 'fcn_r50.py') for name in SETS}


def steps(cfg):
    dataset = cfg.train_dataloader.dataset
    return (dataset.get('datasets') or [dataset])[0].pipeline


def step(pipeline, name):
    (found,) = [t for t in pipeline if t.type == name]
    return {key: value for key, value in found.items() if key != 'type'}


# What both share.
@pytest.mark.parametrize('name', SETS)
def test_backbone_is_that_of_pretraining_with_output_stride_16(configs, name):
    backbone = configs[name].model.backbone
    assert backbone.to_dict() == dict(
        type='ResNet',
        depth=50,
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        contract_dilation=True,
        style='pytorch',
        norm_cfg=SYNC,
        norm_eval=False,
        frozen_stages=-1,
        init_cfg=dict(
            type='orl_mm.PretrainedBackbone', checkpoint='work_dirs/r50_in1k/epoch_300.pth'
        ),
    )


@pytest.mark.parametrize('name', SETS)
def test_input_is_that_of_pretraining(configs, name):
    given = configs[name].model.data_preprocessor
    assert (list(given.mean), list(given.std), given.bgr_to_rgb) == (
        [123.675, 116.28, 103.53],
        [58.395, 57.12, 57.375],
        True,
    )
    pretraining = Config.fromfile(CONFIGS / 'r2o' / 'r50_in1k.py').data_preprocessor
    assert (list(pretraining.mean), list(pretraining.std)) == (list(given.mean), list(given.std))
    assert given.seg_pad_val == 255
    assert given.pad_val == 0


HEADS = {
    'voc': dict(classes=21, concat=True, align=False),
    'cityscapes': dict(classes=19, concat=False, align=True),
}


@pytest.mark.parametrize('name', SETS)
def test_head(configs, name):
    """256 channels, two convolutions with dilation 6."""
    head, want = configs[name].model.decode_head, HEADS[name]
    has(head, type='FCNHead', in_channels=2048, in_index=3, channels=256, num_convs=2, dilation=6)
    has(head, num_classes=want['classes'], concat_input=want['concat'], align_corners=want['align'])
    assert head.norm_cfg == SYNC
    assert head.dropout_ratio == 0.1
    assert head.loss_decode.to_dict() == dict(
        type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0
    )


def test_auxiliary_head_on_c4_of_voc_alone(configs):
    assert configs['voc'].model.auxiliary_head.to_dict() == dict(
        type='FCNHead',
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=2,
        dilation=6,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=21,
        norm_cfg=SYNC,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.2),
    )
    assert 'auxiliary_head' not in configs['cityscapes'].model


CROPS = {'voc': (513, 513), 'cityscapes': (769, 769)}


@pytest.mark.parametrize('name', SETS)
def test_training_images(configs, name):
    """Resize, crop, flip; nothing photometric."""
    pipeline = steps(configs[name])
    assert [t.type for t in pipeline] == [
        'orl_mm.SeedSample',
        'LoadImageFromFile',
        'LoadAnnotations',
        'orl_mm.CheckLabels',
        'orl_mm.RandomRelativeResize' if name == 'voc' else 'RandomResize',
        'RandomCrop',
        'RandomFlip',
        'PackSegInputs',
    ]
    assert step(pipeline, 'RandomCrop') == dict(crop_size=CROPS[name], cat_max_ratio=0.99)
    assert step(pipeline, 'RandomFlip') == dict(prob=0.5)
    if name == 'voc':
        assert step(pipeline, 'orl_mm.RandomRelativeResize') == dict(ratio_range=(0.5, 2.0))
    else:
        assert step(pipeline, 'RandomResize') == dict(
            scale=(2049, 1025), ratio_range=(0.5, 2.0), keep_ratio=True
        )
    assert tuple(configs[name].model.data_preprocessor['size']) == CROPS[name]


@pytest.mark.parametrize('name', SETS)
def test_tested_on_whole_images_once(configs, name):
    cfg = configs[name]
    assert cfg.model.test_cfg == dict(mode='whole')
    pipeline = cfg.test_dataloader.dataset.pipeline
    kinds = [t.type for t in pipeline]
    assert not any('Flip' in kind or 'TTA' in kind for kind in kinds)
    if name == 'voc':
        assert 'Resize' not in kinds  # ratio 1
    else:
        assert step(pipeline, 'Resize') == dict(scale=(2049, 1025), keep_ratio=True)
        # Labels keep their size: scores are of the original image.
        assert kinds.index('Resize') < kinds.index('LoadAnnotations')
    assert cfg.test_evaluator == dict(type='IoUMetric', iou_metrics=['mIoU'])
    assert cfg.test_dataloader.batch_size == 1


RECIPES = {
    # lr, epochs, steps, loader's batch, processes of the command
    'voc': (0.01, 45, [32, 41], 8, 2),
    'cityscapes': (0.04, 160, [112, 144], 4, 4),
}


@pytest.mark.parametrize('name', SETS)
def test_recipe(configs, name):
    cfg, (lr, epochs, milestones, batch, processes) = configs[name], RECIPES[name]
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=lr, momentum=0.9, weight_decay=1e-4)
    assert cfg.train_cfg.type == 'EpochBasedTrainLoop'
    assert cfg.train_cfg.max_epochs == epochs
    (schedule,) = cfg.param_scheduler
    has(schedule, type='MultiStepLR', by_epoch=True, milestones=milestones, gamma=0.1)
    assert cfg.train_dataloader.batch_size == batch
    assert batch * processes == 16 == cfg.auto_scale_lr.base_batch_size
    text = (TRANSFER / name / 'fcn_r50.py').read_text()
    assert f'fcn_r50.py {processes} ' in text
    assert f'{processes} GPUs x {batch} images = batch 16' in text


def test_epochs_of_voc_are_the_published_iterations(configs):
    """10,582 images: 45 epochs are 30k iterations of 16, and the steps are where they were."""
    epoch = 10582 // 16
    assert 45 * epoch == pytest.approx(30000, rel=0.01)
    for milestone, published in zip(
        configs['voc'].param_scheduler[0].milestones, (21000, 27000), strict=False
    ):
        assert abs(milestone * epoch - published) <= epoch / 2
    cfg = Config.fromfile(TRANSFER / 'voc' / 'fcn_r50_published.py')
    (schedule,) = cfg.param_scheduler
    assert (schedule.by_epoch, schedule.milestones, cfg.train_cfg.max_iters) == (
        False,
        [21000, 27000],
        30000,
    )


def test_lists_of_images(configs):
    """train_aug is VOC's train and SBD's further masks; val scores."""
    voc = configs['voc']
    train, aug = voc.train_dataloader.dataset.datasets
    assert (train.ann_file, aug.ann_file) == (
        'ImageSets/Segmentation/train.txt',
        'ImageSets/Segmentation/aug.txt',
    )
    assert (train.data_prefix.seg_map_path, aug.data_prefix.seg_map_path) == (
        'SegmentationClass',
        'SegmentationClassAug',
    )
    assert voc.test_dataloader.dataset.ann_file == 'ImageSets/Segmentation/val.txt'
    alone = Config.fromfile(TRANSFER / 'voc' / 'fcn_r50_train.py')
    assert alone.train_dataloader.dataset == train
    city = configs['cityscapes']
    assert city.train_dataloader.dataset.data_prefix.seg_map_path == 'gtFine/train'
    assert city.test_dataloader.dataset.data_prefix.seg_map_path == 'gtFine/val'


@pytest.mark.parametrize('name', SETS)
def test_hooks(configs, name):
    """The data are looked at, SyncBN has a CPU's stand-in, draws are functions of the step."""
    cfg = configs[name]
    assert [dict(hook) for hook in cfg.custom_hooks] == [
        dict(type='orl_mm.CheckDataHook', layout=name),
        dict(type='orl_mm.SyncBatchNormHook'),
        dict(type='orl_mm.SetEpochHook'),
        dict(type='orl_mm.SeedStepHook'),
    ]
    assert cfg.default_scope == 'mmseg'
    assert cfg.custom_imports.imports == ['orl_mm']
    assert cfg.train_dataloader.sampler == dict(type='DefaultSampler', shuffle=True)
    assert cfg.train_dataloader.drop_last  # as mmseg 0.x: a last batch of one is no batch
    for pipeline in (steps(cfg), cfg.test_dataloader.dataset.pipeline):
        classes = HEADS[name]['classes']
        assert step(pipeline, 'orl_mm.CheckLabels') == dict(num_classes=classes)


def test_published_differs_in_its_schedule_alone(configs):
    published = Config.fromfile(TRANSFER / 'voc' / 'fcn_r50_published.py')
    assert {key for key in published if published[key] != configs['voc'].get(key)} == {
        'param_scheduler',
        'train_cfg',
        'default_hooks',
        'log_processor',
    }


ROOTS = {
    'voc': ('ORL_VOC', 'data/VOCdevkit/VOC2012'),
    'cityscapes': ('ORL_CITYSCAPES', 'data/cityscapes'),
}


@pytest.mark.parametrize('name', SETS)
def test_one_variable_names_the_folder_of_all_lists(name, monkeypatch):
    variable, usual = ROOTS[name]
    for value, expected in ((None, usual), ('/elsewhere', '/elsewhere')):
        monkeypatch.delenv(variable, raising=False)
        if value:
            monkeypatch.setenv(variable, value)
        cfg = Config.fromfile(TRANSFER / name / 'fcn_r50.py')
        train = cfg.train_dataloader.dataset
        for dataset in (
            *(train.get('datasets') or [train]),
            cfg.val_dataloader.dataset,
            cfg.test_dataloader.dataset,
        ):
            assert dataset.data_root == expected
