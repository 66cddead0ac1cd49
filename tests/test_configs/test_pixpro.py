"""PixPro's configs against the settings of its authors' scripts; trained, killed and resumed."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.datasets.transforms import GaussianBlur
from PIL import Image, ImageFilter

from orl_mm.engine.optimizers import LARSConstructor
from orl_mm.registry import MODELS, TRANSFORMS
from tests.settings import MEAN, STD, byol_views, hook_types, read, settings_are
from tests.small import (
    BASELINES,
    backbone_is_handed_on,
    load_baseline,
    resumed_equals_unbroken,
    same,
    small_pixpro,
    some_real_images,
    train,
    write_photographs,
)

PIXPRO = ['pixpro', 'pixpro_100e']

EPOCHS = {'pixpro': 400, 'pixpro_100e': 100}


VIEWS = 'train_dataloader.dataset.pipeline.MultiViewWithGeometry'
BLUR = dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf')
# tools/pixpro_base_r50_{400,100}ep.sh: LARS, 8 x 128 images, base rate 1 for 256; Pillow's blur.
SETTINGS = {
    'optim_wrapper': dict(
        type='OptimWrapper',
        constructor='orl_mm.LARSConstructor',
        optimizer=dict(
            type='orl_mm.LARS',
            lr=pytest.approx(4.0),
            momentum=0.9,
            weight_decay=pytest.approx(1e-5),
            eta=1e-3,
        ),
    ),
    'param_scheduler': [
        dict(type='orl_mm.WarmupCosineLR', warmup=5, by_epoch=True, convert_to_iter_based=True)
    ],
    'train_dataloader.batch_size': 128,
    'train_dataloader.drop_last': True,
    'auto_scale_lr': dict(base_batch_size=1024, enable=False),
    'custom_hooks.MomentumUpdateHook.momentum': 0.99,
    'custom_hooks.MomentumUpdateHook.end_momentum': 1.0,
    'default_hooks.checkpoint.interval': 10,
    VIEWS: byol_views(BLUR, interpolation='bilinear'),
    'data_preprocessor.mean': MEAN,
    'data_preprocessor.std': STD,
}


@pytest.mark.parametrize('name', PIXPRO)
def test_settings(name):
    cfg = load_baseline(name)
    settings_are(cfg, {**SETTINGS, 'train_cfg.max_epochs': EPOCHS[name]})
    assert {'SetEpochHook', 'SyncBatchNormHook'} <= hook_types(cfg)


def test_blur_is_pillows_with_a_uniform_radius():
    """Radius in [0.1, 2), as ``np.random.uniform(0.1, 2.0)`` of the authors' code."""
    cfg = load_baseline('pixpro')
    init_default_scope(cfg.default_scope)
    blur = TRANSFORMS.build(read(cfg, f'{VIEWS}.transforms.0.2'))
    assert isinstance(blur, GaussianBlur)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    radii = np.linspace(0.1, 2, 96)
    choices = np.stack(
        [
            np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius=float(r))))
            for r in radii
        ]
    ).astype(int)
    np.random.seed(0)
    found = []
    for _ in range(60):
        out = blur(dict(img=image))['img']
        error = np.abs(choices - out).mean((1, 2, 3))
        assert error.min() < 1.5
        found.append(radii[error.argmin()])
    # Radii below 0.4 or so leave 8 bits as they are, and count as 0.1.
    assert min(found) < 0.6
    assert max(found) > 1.8
    assert abs(np.mean(found) - 1.05) < 0.2


def test_model():
    """ResNet-50 (23,508,032 parameters), projector, one transform layer, SyncBN everywhere."""
    cfg = load_baseline('pixpro')
    assert cfg.model.type == 'orl_mm.PixPro'
    assert cfg.model.backbone.depth == 50
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    assert (model.pos_ratio, model.head.power) == (0.7, 2.0)
    assert model.target_update == 'before_target_forward'
    projector = 2048 * 4096 + 4096 + 2 * 4096 + 4096 * 256 + 256
    transform = 256 * 256 + 256
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == 23508032 + projector + transform
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert frozen == 23508032 + projector
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == 2 * 54
    assert all(isinstance(m, torch.nn.SyncBatchNorm) for m in norms)


def test_residual_branches_start_at_zero_and_the_target_equal():
    """As the authors' ResNet; all else as PyTorch initializes convolutions there."""
    cfg = small_pixpro('nowhere', BASELINES / 'none')
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    last = [
        m.bn2 if hasattr(m, 'bn2') else m.norm2
        for m in model.backbone.modules()
        if type(m).__name__ == 'BasicBlock'
    ]
    assert len(last) == 8
    assert all((m.weight == 0).all() for m in last)
    assert (model.backbone.bn1.weight == 1).all()
    stem = model.backbone.conv1.weight  # normal, sqrt(2 / (49 * channels))
    assert abs(stem.std() * (49 * 8 / 2) ** 0.5 - 1) < 0.1
    for layer in (model.neck.fc0, model.neck.fc1, model.head.transform):
        bound = layer.in_features**-0.5
        assert 0.9 * bound < layer.weight.abs().max() <= bound
        assert layer.bias.abs().max() > 0
    for part in ('backbone', 'neck'):
        same(dict(getattr(model, part).state_dict()), dict(model.target[part].state_dict()))


def test_biases_and_norms_are_excluded_from_decay_and_adaptation():
    """Whatever has one axis, as in the authors' optimizer."""
    cfg = small_pixpro('nowhere', BASELINES / 'none')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    groups = LARSConstructor(dict(cfg.optim_wrapper, type='OptimWrapper')).param_groups(model)
    kept = {id(p) for g in groups if not g.get('lars_exclude') for p in g['params']}
    dropped = {id(p) for g in groups if g.get('lars_exclude') for p in g['params']}
    trained = [p for p in model.parameters() if p.requires_grad]
    assert kept == {id(p) for p in trained if p.dim() > 1}
    assert dropped == {id(p) for p in trained if p.dim() == 1}
    assert all(g['weight_decay'] == 0 for g in groups if g.get('lars_exclude'))


def test_resumed_equals_unbroken(tmp_path):
    images = write_photographs(tmp_path / 'photographs', 6, patch=32)
    moving = ['backbone.conv1.weight', 'target.backbone.layer4.1.conv2.weight']
    moving += ['target.neck.fc0.weight', 'head.transform.weight']
    resumed_equals_unbroken(
        lambda work_dir: small_pixpro(images, work_dir, epochs=3, warmup=1, num_workers=1),
        tmp_path,
        moving=moving,
    )


def test_trains_on_real_images_and_hands_its_backbone_on(shared_data, tmp_path):
    """A few steps: the loss falls; the checkpoint's backbone loads for other packages."""
    count = some_real_images(shared_data, tmp_path / 'images')
    cfg = small_pixpro(tmp_path / 'images', tmp_path / 'work', batch_size=count // 2, epochs=8)
    cfg.optim_wrapper.optimizer.lr = 0.2
    cfg.default_hooks.checkpoint.interval = 8
    runner = train(cfg)
    losses = runner.message_hub.log_scalars['train/loss'].data[0]
    assert len(losses) >= 16
    assert np.isfinite(losses).all()
    assert losses[0] > -1
    assert losses[-4:].mean() < losses[0] - 1
    backbone_is_handed_on(runner, tmp_path / 'work' / 'epoch_8.pth', strides=(1, 2, 2, 1))
