"""VADeR's and InfoMin's configs against the table of settings; trained, killed and resumed."""

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from orl_mm.registry import DATASETS, MODELS, TRANSFORMS
from tests.settings import GRAY, MEAN, STD, hook_types, jitter, settings_are, sometimes
from tests.small import (
    BASELINES,
    NARROW,
    backbone_is_handed_on,
    load_baseline,
    resumed_equals_unbroken,
    same,
    small_infomin,
    small_vader,
    some_real_images,
    train,
    write_photographs,
)

NAMES = ('vader', 'infomin')
# torchvision's resnet50 without classifier, and MoCo v2's neck, 2048 - 2048 - 128 with biases.
ENCODER, MLP = 23508032, 2048 * 2048 + 2048 + 2048 * 128 + 128


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def built(name):
    return MODELS.build(load_baseline(name).model)


def trained(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


# Both: SGD, 32 images per process, seeded by epoch and step.
SHARED = {
    'train_dataloader.batch_size': 32,
    'train_dataloader.drop_last': True,
    'default_hooks.checkpoint.interval': 10,
    'data_preprocessor.mean': MEAN,
    'data_preprocessor.std': STD,
    'data_preprocessor.to_rgb': True,
}
PIPELINE = 'train_dataloader.dataset.pipeline'
CUT, VIEWS = f'{PIPELINE}.MultiViewWithGeometry', f'{PIPELINE}.MultiView'
SGD = dict(type='SGD', momentum=0.9, weight_decay=0.0001)
AUGMENT, CROP = f'{VIEWS}.transforms.0.RandAugment', 'RandomResizedCrop'
SETTINGS = dict(
    # 600 epochs of batch 128; no schedule.
    vader={
        'model.type': 'orl_mm.VADeR',
        'optim_wrapper.optimizer': dict(SGD, lr=0.003),
        'train_cfg.max_epochs': 600,
        'auto_scale_lr': dict(base_batch_size=128, enable=False),
        'custom_hooks.MomentumUpdateHook.momentum': 0.999,
        'custom_hooks.MomentumUpdateHook.end_momentum': 0.999,
        f'{CUT}.size': 224,
        f'{CUT}.scale': (0.2, 1.0),
        f'{CUT}.num_views': [2],
        f'{CUT}.flip_prob': 0.5,
        f'{CUT}.interpolation': 'bilinear',
        f'{CUT}.transforms': [[GRAY, jitter(0.4, 0.4, 0.4, 0.4)]],
    },
    # 200 epochs of batch 256, cosine to 0.03 / 1000.
    infomin={
        'model.type': 'orl_mm.InfoMin',
        'optim_wrapper.optimizer': dict(SGD, lr=0.03),
        'param_scheduler': [dict(type='CosineAnnealingLR', by_epoch=True, eta_min_ratio=1e-3)],
        'train_cfg.max_epochs': 200,
        'auto_scale_lr.base_batch_size': 256,
        f'{VIEWS}.num_views': [2, 1],
        f'{VIEWS}.transforms.0.0': dict(
            type=CROP, scale=224, crop_ratio_range=(0.2, 1.0), backend='pillow'
        ),
        f'{VIEWS}.transforms.0.1': dict(type='RandomFlip', prob=0.5),
        f'{VIEWS}.transforms.0.2': sometimes(jitter(0.8, 0.8, 0.8, 0.2), 0.8),
        f'{VIEWS}.transforms.0.3': dict(
            type='orl_mm.GaussianBlur', kernel_size=23, sigma=(0.1, 2.0), prob=0.5
        ),
        f'{AUGMENT}.num_policies': 2,
        f'{AUGMENT}.magnitude_level': 10,
        f'{AUGMENT}.magnitude_std': 0.5,
        f'{VIEWS}.transforms.0.5': GRAY,
        f'{VIEWS}.transforms.1': [
            dict(type=CROP, scale=255, crop_ratio_range=(0.6, 1.0), backend='pillow'),
            dict(type='RandomFlip', prob=0.5),
            dict(type='orl_mm.JigsawCrops', grid=3, crop_size=64),
        ],
    },
)


@pytest.mark.parametrize('name', NAMES)
def test_settings(name):
    cfg = load_baseline(name)
    settings_are(cfg, {**SHARED, **SETTINGS[name]})
    assert {'SetEpochHook', 'SeedStepHook', 'SyncBatchNormHook'} <= hook_types(cfg)
    if name == 'vader':
        assert 'param_scheduler' not in cfg
        assert not [t for t in cfg.train_dataloader.dataset.pipeline if 'Superpixels' in t.type]


# --- VADeR


def test_vader_rates_reach_the_parameters(tmp_path):
    runner = Runner.from_cfg(small_vader(BASELINES, tmp_path))
    wrapper = runner.build_optim_wrapper(runner.cfg.optim_wrapper)
    rates = {id(p): group['lr'] for group in wrapper.param_groups for p in group['params']}
    for part, rate in (('backbone', 3e-7), ('neck', 3e-3)):
        assert {round(rates[id(p)], 12) for p in getattr(runner.model, part).parameters()} == {rate}


def test_vader_model():
    """32 pairs, 65,536 negatives of 128; all four stages decoded; SyncBN in the encoder."""
    model = built('vader')
    assert (model.num_pairs, tuple(model.queue.rows.shape)) == (32, (65536, 128))
    assert (model.head.temperature, model.head.loss_weight) == (0.07, 10.0)
    assert trained(model.backbone) == ENCODER
    assert model.backbone.out_indices == (0, 1, 2, 3)
    lateral = sum(c * 256 + 256 for c in (256, 512, 1024, 2048))
    smooth = 4 * (256 * 256 * 9 + 256)
    first, further = 256 * 128 * 9 + 2 * 128, 128 * 128 * 9 + 2 * 128
    decoder = lateral + smooth + 4 * first + (1 + 2) * further + 128 * 128 + 128
    assert trained(model) == ENCODER + decoder
    assert sum(p.numel() for p in model.target.parameters()) == ENCODER + decoder
    norms = [
        m for m in model.backbone.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)
    ]
    assert len(norms) == 53
    assert all(isinstance(m, torch.nn.SyncBatchNorm) for m in norms)


def save_moco(path):
    """A checkpoint of mmpretrain's MoCo with the narrow encoder; its encoder's weights."""
    torch.manual_seed(7)
    moco = MODELS.build(
        dict(
            type='mmpretrain.MoCo',
            queue_len=8,
            feat_dim=8,
            backbone=dict(type='mmpretrain.ResNet', **NARROW, norm_cfg=dict(type='BN')),
            neck=dict(type='mmpretrain.MoCoV2Neck', in_channels=64, hid_channels=8, out_channels=8),
            head=dict(
                type='mmpretrain.ContrastiveHead', loss=dict(type='mmpretrain.CrossEntropyLoss')
            ),
        )
    )
    for value in moco.state_dict().values():
        if value.is_floating_point():  # running statistics, too
            torch.nn.init.uniform_(value, 0.5, 1.0)
    torch.save(dict(state_dict=moco.state_dict(), meta={}), path)
    return moco.backbone.state_dict()


def test_vader_starts_from_moco(tmp_path):
    """By one option; the momentum copy, too; a wrong file stops the run."""
    assert load_baseline('vader').model.backbone.init_cfg == dict(
        type='orl_mm.PretrainedBackbone', checkpoint='work_dirs/mocov1_r50_in1k/epoch_200.pth'
    )
    weights = save_moco(tmp_path / 'moco.pth')
    model = MODELS.build(small_vader('nowhere', tmp_path, tmp_path / 'moco.pth').model)
    model.init_weights()
    same(dict(weights), dict(model.backbone.state_dict()))
    same(dict(weights), dict(model.target['backbone'].state_dict()))
    torch.save(dict(state_dict={'layer1.weight': torch.zeros(2)}), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='other.pth'):
        MODELS.build(small_vader('nowhere', tmp_path, tmp_path / 'other.pth').model).init_weights()


# --- InfoMin


def test_infomin_model():
    """MLP head, temperature 0.15, queue 65,536 of 128, momentum 0.999, 0.5 / 0.5."""
    model = built('infomin')
    assert tuple(model.queue.shape) == (128, 65536)
    assert model.head.temperature == 0.15
    assert model.encoder_k.momentum == pytest.approx(1 - 0.999)
    assert model.jigsaw_weight == 0.5
    assert model.jigsaw_neck.num_crops == 9
    assert trained(model.backbone) == ENCODER
    assert trained(model.neck) == MLP
    assert trained(model) == ENCODER + MLP + MLP + 9 * 128 * 128 + 128
    assert not any(p.requires_grad for p in model.encoder_k.parameters())


def policies():
    (augment,) = [t for t in load_baseline('infomin').view_pipeline if t.type == 'RandAugment']
    return TRANSFORMS.build(augment)


# What datasets/RandAugment.py of PyContrast makes of a level between 0 and 10.
LEVELS = dict(
    Rotate=lambda x: 3 * x,
    Solarize=lambda x: 25.6 * x,
    SolarizeAdd=lambda x: 11 * x,
    ColorTransform=lambda x: 0.18 * x + 0.1 - 1,
    Contrast=lambda x: 0.18 * x + 0.1 - 1,
    Brightness=lambda x: 0.18 * x + 0.1 - 1,
    Sharpness=lambda x: 0.18 * x + 0.1 - 1,
    Shear=lambda x: 0.03 * x,
    Translate=lambda x: 0.045 * x,
)
NEGATED = dict(Rotate=0.5, Shear=0.5, Translate=0.5)


def test_infomin_augments_by_the_authors_policies():
    """Fifteen, each with p 0.5; the level of each becomes the authors' argument."""
    augment = policies()
    names = [type(t).__name__ for t in augment.transforms]
    once = 'AutoContrast Equalize Invert Rotate Posterize Solarize SolarizeAdd ColorTransform'
    once += ' Contrast Brightness Sharpness'
    assert sorted(names) == sorted([*once.split(), *['Shear', 'Translate'] * 2])
    assert (
        {t.direction for t in augment.transforms if type(t).__name__ == 'Shear'}
        == {t.direction for t in augment.transforms if type(t).__name__ == 'Translate'}
        == {'horizontal', 'vertical'}
    )
    for name, transform in zip(names, augment.transforms, strict=False):
        assert transform.prob == 0.5
        if hasattr(transform, 'pad_val'):  # BGR; ImageNet's mean is 124, 116, 104
            assert transform.pad_val == (104, 116, 124)
            assert transform.interpolation == 'bilinear'
        if name in ('AutoContrast', 'Equalize', 'Invert'):
            continue
        assert (transform.magnitude_level, transform.magnitude_std) == (10, 0.5)
        if name in LEVELS:
            assert transform.random_negative_prob == NEGATED.get(name, 0.0), name
            transform.magnitude_std = 0.0
            for level in (0.0, 3.3, 9.7, 10.0):
                transform.magnitude_level = level
                assert transform.random_magnitude() == pytest.approx(LEVELS[name](level), abs=1e-6)


@pytest.mark.parametrize('level', [0.5, 2.5, 2.6, 7.4, 7.6, 9.9, 10.0])
def test_infomin_keeps_as_many_bits_as_the_authors(level):
    (posterize,) = [t for t in policies().transforms if type(t).__name__ == 'Posterize']
    posterize.prob, posterize.magnitude_std, posterize.magnitude_level = 1.0, 0.0, level
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    bits = int(level / 10 * 4)
    kept = posterize(dict(img=ramp.copy()))['img']
    assert np.array_equal(kept, ramp & (0xFF00 >> bits & 0xFF))


def test_infomin_sample_holds_two_views_and_shuffled_crops(tmp_path):
    images = write_photographs(tmp_path / 'photographs', 2, patch=200)
    cfg = load_baseline('infomin').train_dataloader
    cfg.dataset.data_root = str(images)
    dataset = DATASETS.build(cfg.dataset)
    first, second, crops = default_collate([dataset[0], dataset[1]])['inputs']
    assert first.shape == second.shape == (2, 3, 224, 224)
    assert crops.shape == (2, 3, 576, 64)
    assert not torch.equal(first, second)


# --- both


SMALL = dict(vader=small_vader, infomin=small_infomin)
MOVING = dict(
    vader=(
        'backbone.conv1.weight',
        'neck.last.weight',
        'target.neck.last.weight',
        'queue.rows',
        'queue.pointer',
    ),
    infomin=(
        'backbone.conv1.weight',
        'jigsaw_neck.merge.weight',
        'queue',
        'queue_ptr',
        'encoder_k.module.0.conv1.weight',
        'encoder_k.steps',
    ),
)


@pytest.mark.parametrize('name', NAMES)
def test_resumed_equals_unbroken(name, tmp_path):
    """Weights, momentum copies, queue, optimizer, schedules, losses."""
    images = write_photographs(tmp_path / 'photographs', 6, patch=32)
    # Without a worker, the last sample would leave VADeR's draws the same generator.
    workers = dict(vader=1, infomin=0)[name]
    resumed_equals_unbroken(
        lambda work_dir: SMALL[name](images, work_dir, epochs=2, num_workers=workers),
        tmp_path,
        2,
        MOVING[name],
    )


@pytest.mark.parametrize('name', NAMES)
def test_trains_on_real_images_and_hands_its_backbone_on(name, shared_data, tmp_path):
    """A few steps; the checkpoint's backbone loads for other packages."""
    count = some_real_images(shared_data, tmp_path / 'images')
    epochs = dict(vader=20, infomin=3)[name]
    cfg = SMALL[name](tmp_path / 'images', tmp_path / 'work', batch_size=count // 2, epochs=epochs)
    cfg.default_hooks.checkpoint.interval = epochs
    if name == 'vader':  # rates at which twenty epochs tell
        cfg.optim_wrapper.optimizer.lr = 0.2
        cfg.optim_wrapper.paramwise_cfg.lr_mult.backbone = 1.0
        cfg.model.head.loss_weight = 1.0
    runner = train(cfg)
    scalars = runner.message_hub.log_scalars
    losses = scalars['train/loss'].data[0]
    assert len(losses) == epochs * 2
    assert np.isfinite(losses).all()
    if name == 'vader':  # until the queue of random directions is full the loss rises
        assert losses[-10:].mean() < losses[5:15].mean() - 0.1
    else:
        parts = [scalars[f'train/loss_{part}'].data[0] for part in ('views', 'jigsaw')]
        np.testing.assert_allclose(losses, parts[0] + parts[1], rtol=1e-5)
    backbone_is_handed_on(runner, tmp_path / 'work' / f'epoch_{epochs}.pth')
