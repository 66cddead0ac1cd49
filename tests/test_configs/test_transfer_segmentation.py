"""FCN on VOC and Cityscapes, parameter by parameter.

The numbers are those of the thesis (45 and 160 epochs) and of the authors' config_pascal.py and
config_cityscapes.py.
"""

from pathlib import Path

import pytest
from mmengine.config import Config

from tests.settings import MEAN, STD, plain, read, settings_are
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


FCN = dict(
    type='FCNHead',
    channels=256,
    num_convs=2,
    dilation=6,
    dropout_ratio=0.1,
    norm_cfg=SYNC,
    loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
)
C5, C4 = dict(FCN, in_channels=2048, in_index=3), dict(FCN, in_channels=1024, in_index=2)
SHARED = {
    # The backbone of pretraining with output stride 16, its input, whole images in the test.
    'model.backbone': dict(
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
    ),
    'model.data_preprocessor.mean': MEAN,
    'model.data_preprocessor.std': STD,
    'model.data_preprocessor.bgr_to_rgb': True,
    'model.data_preprocessor.seg_pad_val': 255,
    'model.data_preprocessor.pad_val': 0,
    'model.test_cfg': dict(mode='whole'),
    'test_dataloader.batch_size': 1,
    'test_evaluator': dict(type='IoUMetric', iou_metrics=['mIoU']),
    'train_dataloader.sampler': dict(type='DefaultSampler', shuffle=True),
    'train_dataloader.drop_last': True,  # as mmseg 0.x: a last batch of one is no batch
    'train_cfg.type': 'EpochBasedTrainLoop',
    'auto_scale_lr.base_batch_size': 16,
    'default_scope': 'mmseg',
    'custom_imports.imports': ['orl_mm'],
}
OWN = {
    'voc': {
        'model.decode_head': dict(C5, num_classes=21, concat_input=True, align_corners=False),
        'model.auxiliary_head': dict(
            C4,
            concat_input=False,
            num_classes=21,
            align_corners=False,
            loss_decode=dict(FCN['loss_decode'], loss_weight=0.2),
        ),
        'model.data_preprocessor.size': (513, 513),
        'optim_wrapper.optimizer': dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
        'param_scheduler.0.milestones': [32, 41],
        'train_cfg.max_epochs': 45,
        'train_dataloader.batch_size': 8,
    },
    'cityscapes': {
        'model.decode_head': dict(C5, num_classes=19, concat_input=False, align_corners=True),
        'model.data_preprocessor.size': (769, 769),
        'optim_wrapper.optimizer': dict(type='SGD', lr=0.04, momentum=0.9, weight_decay=1e-4),
        'param_scheduler.0.milestones': [112, 144],
        'train_cfg.max_epochs': 160,
        'train_dataloader.batch_size': 4,
    },
}
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
RESIZED = dict(scale=(2049, 1025), keep_ratio=True)
RESIZES = {  # of training and of the test; labels keep their size there
    'voc': (dict(type='orl_mm.RandomRelativeResize', ratio_range=(0.5, 2.0)), []),
    'cityscapes': (
        dict(RESIZED, type='RandomResize', ratio_range=(0.5, 2.0)),
        [dict(RESIZED, type='Resize')],
    ),
}


@pytest.mark.parametrize('name', SETS)
def test_settings(configs, name):
    cfg = configs[name]
    settings_are(cfg, {**SHARED, **OWN[name]})
    (schedule,) = cfg.param_scheduler
    has(schedule, type='MultiStepLR', by_epoch=True, gamma=0.1)
    assert ('auxiliary_head' in cfg.model) == (name == 'voc')
    batch = cfg.train_dataloader.batch_size
    text = (TRANSFER / name / 'fcn_r50.py').read_text()
    assert f'fcn_r50.py {16 // batch} ' in text
    assert f'{16 // batch} GPUs x {batch} images = batch 16' in text
    pretraining = Config.fromfile(CONFIGS / 'r2o' / 'r50_in1k.py').data_preprocessor
    assert (pretraining.mean, pretraining.std) == (MEAN, STD)


@pytest.mark.parametrize('name', SETS)
def test_pipelines(configs, name):
    """Resize, crop, flip, nothing photometric; one pass over whole images in the test."""
    cfg, (training, testing) = configs[name], RESIZES[name]
    check = dict(type='orl_mm.CheckLabels', num_classes=cfg.model.decode_head.num_classes)
    size = OWN[name]['model.data_preprocessor.size']
    assert plain(steps(cfg)) == plain(
        [
            dict(type='orl_mm.SeedSample', seed=0),
            *LOAD,
            check,
            training,
            dict(type='RandomCrop', crop_size=size, cat_max_ratio=0.99),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ]
    )
    tested = [LOAD[0], *testing, LOAD[1], check, dict(type='PackSegInputs')]
    assert read(cfg, 'test_dataloader.dataset.pipeline') == plain(tested)
    assert [dict(hook) for hook in cfg.custom_hooks] == [
        dict(type='orl_mm.CheckDataHook', layout=name),
        dict(type='orl_mm.SyncBatchNormHook'),
        dict(type='orl_mm.SetEpochHook'),
        dict(type='orl_mm.SeedStepHook'),
    ]


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
