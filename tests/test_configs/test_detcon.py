"""DetCon_B's configs against the settings of both public codes, trained, killed and resumed."""

import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from orl_mm.registry import MODELS, TRANSFORMS
from tests.settings import byol_views, hook_types, read, settings_are
from tests.small import (
    backbone_is_handed_on,
    load_baseline,
    resumed_equals_unbroken,
    small_detcon,
    some_real_images,
    train,
    write_photographs,
)

DETCON = ['detcon-b', 'detcon-b_100e', 'detcon-b_paper', 'detcon-b_paper_100e']

ROOT = Path(__file__).resolve().parents[2]
PAPER = dict(
    lr=0.2 * 16,
    weight_decay=1.5e-6,
    momentum=0.996,
    target_draw='shared',
    target_update='after_step',
    views='separate',
    with_last_bias=False,
    zero_init_residual=True,
)
REPRODUCED = dict(
    lr=0.3 * 16,
    weight_decay=1e-6,
    momentum=0.99,
    target_draw='own',
    target_update='before_target_forward',
    views='joined',
    with_last_bias=True,
    zero_init_residual=False,
)
SETTINGS = {
    'detcon-b': dict(REPRODUCED, epochs=300, warmup=3),
    'detcon-b_100e': dict(REPRODUCED, epochs=100, warmup=3),
    'detcon-b_paper': dict(PAPER, epochs=300, warmup=3),
    'detcon-b_paper_100e': dict(PAPER, epochs=100, warmup=1),
}


@pytest.mark.parametrize('name', DETCON)
def test_what_tells_the_configs_apart(name):
    cfg = load_baseline(name)
    model, schedule = cfg.model, cfg.param_scheduler[0]
    mlps = (model.neck.projector, model.head.predictor)
    optimizer = cfg.optim_wrapper.optimizer
    found = dict(
        lr=optimizer.lr,
        weight_decay=optimizer.weight_decay,
        momentum=read(cfg, 'custom_hooks.MomentumUpdateHook.momentum'),
        target_draw=model.target_draw,
        target_update=model.target_update,
        views=model.views,
        with_last_bias=mlps[0].with_last_bias,
        zero_init_residual=model.backbone.zero_init_residual,
        epochs=cfg.train_cfg.max_epochs,
        warmup=schedule.warmup,
    )
    wanted = SETTINGS[name]
    assert found == {k: pytest.approx(v) if isinstance(v, float) else v for k, v in wanted.items()}
    assert mlps[1].with_last_bias == mlps[0].with_last_bias
    assert 'end' not in schedule  # the run's


MLP = dict(type='orl_mm.RegionMLP', hid_channels=4096, num_layers=2, with_bias=True)
PIPELINE = 'train_dataloader.dataset.pipeline'
SHARED = {
    'model.type': 'orl_mm.DetCon',
    'model.num_masks': 16,
    'model.head.type': 'orl_mm.DetConHead',
    'model.head.loss': dict(type='orl_mm.DetConLoss', temperature=0.1),
    'model.neck.min_area': 1.0,
    'model.backbone.type': 'ResNet',
    'model.backbone.depth': 50,
    # LARS, norms and biases excluded by its constructor; zero to cosine to zero, by iteration.
    'optim_wrapper.optimizer.type': 'orl_mm.LARS',
    'optim_wrapper.optimizer.eta': 1e-3,
    'optim_wrapper.optimizer.momentum': 0.9,
    'optim_wrapper.constructor': 'orl_mm.LARSConstructor',
    'param_scheduler.0.type': 'orl_mm.WarmupCosineLR',
    'param_scheduler.0.by_epoch': True,
    'param_scheduler.0.convert_to_iter_based': True,
    'custom_hooks.MomentumUpdateHook.end_momentum': 1.0,
    'auto_scale_lr.base_batch_size': 4096,
    'train_dataloader.batch_size': 4096 // 128,
    f'{PIPELINE}.GenerateSuperpixels': dict(
        type='orl_mm.GenerateSuperpixels',
        method='felzenszwalb',
        scale=1000,
        min_size=1000,
        sigma=0.8,
        size=448,
        keep_image=False,
        backend='fast',
    ),
    f'{PIPELINE}.MultiViewWithGeometry': byol_views(),
}


@pytest.mark.parametrize('name', DETCON)
def test_what_the_configs_share(name):
    cfg = load_baseline(name)
    settings_are(cfg, SHARED)
    bias = SETTINGS[name]['with_last_bias']
    mlp = dict(MLP, with_last_bn=False, with_last_bias=bias)
    settings_are(
        cfg, {'model.neck.projector': dict(mlp, out_channels=256), 'model.head.predictor': mlp}
    )
    assert 'paramwise_cfg' not in cfg.optim_wrapper
    assert len(cfg.param_scheduler) == 1
    # Masks are drawn in each step, the same when resumed.
    assert {'SeedStepHook', 'SetEpochHook', 'SyncBatchNormHook'} <= hook_types(cfg)


def test_sigma_is_the_one_that_both_codes_leave_to_scikit_image():
    import inspect

    from skimage.segmentation import felzenszwalb

    assert inspect.signature(felzenszwalb).parameters['sigma'].default == 0.8


@pytest.mark.parametrize('name', ['detcon-b', 'detcon-b_paper'])
def test_the_networks_are_byols(name):
    """ResNet-50 (its 23,508,032 parameters), both MLPs, SyncBN everywhere, and a target."""
    cfg = load_baseline(name)
    model = MODELS.build(cfg.model)
    last = 256 if SETTINGS[name]['with_last_bias'] else 0
    mlps = [
        2048 * 4096 + 4096 + 2 * 4096 + 4096 * 256 + last,
        256 * 4096 + 4096 + 2 * 4096 + 4096 * 256 + last,
    ]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == 23508032 + sum(mlps)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert frozen == 23508032 + mlps[0]
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == 2 * 54 + 1
    assert all(isinstance(m, torch.nn.SyncBatchNorm) for m in norms)


def test_label_maps_leave_as_many_regions_as_images_of_their_own_size():
    """Why 448: `min_size` counts pixels. scikit-image's photographs at about 500 x 375."""
    import numpy as np
    from PIL import Image
    from skimage import data

    from orl_mm.superpixels.priors import felzenszwalb

    found = dict(own=0, at448=0, at224=0)
    for photograph in (data.astronaut(), data.coffee(), data.rocket()):
        whole = Image.fromarray(photograph)
        part = (500 * 375 / (whole.width * whole.height)) ** 0.5
        whole = whole.resize((round(whole.width * part), round(whole.height * part)))
        for key, size in (('own', whole.size), ('at448', (448, 448)), ('at224', (224, 224))):
            found[key] += int(felzenszwalb(np.asarray(whole.resize(size))).max()) + 1
    assert abs(found['at448'] - found['own']) < 0.25 * found['own']
    assert found['at224'] < 0.65 * found['own']


@pytest.mark.parametrize('name', ['detcon-b', 'detcon-b_paper'])
def test_resumed_equals_unbroken(name, tmp_path):
    """Regions are drawn in the network."""
    images = write_photographs(tmp_path / 'photographs', 6, patch=32)
    options = dict(epochs=3, warmup=1, num_workers=int(name == 'detcon-b'))
    _, whole = resumed_equals_unbroken(
        lambda work_dir: small_detcon(name, images, work_dir, **options),
        tmp_path,
        moving=('backbone.conv1.weight', 'target.backbone.layer4.1.conv2.weight'),
    )
    assert min(whole['message_hub']['log_scalars']['train/loss'].data[0]) > 0


def test_trains_on_real_images_from_a_cache_and_hands_its_backbone_on(shared_data, tmp_path):
    """tools/cache_superpixels.py with the config, a few steps, the backbone for other packages."""
    count = some_real_images(shared_data, tmp_path / 'images')
    cfg = small_detcon('detcon-b', tmp_path / 'images', tmp_path / 'work')
    cfg.dump(tmp_path / 'config.py')
    spec = importlib.util.spec_from_file_location('cache', ROOT / 'tools/cache_superpixels.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    words = f'--config {tmp_path}/config.py --out {tmp_path}/cache --workers 1'
    tool.main(words.split())
    cfg = Config.fromfile(tmp_path / 'config.py')
    cfg.train_dataloader.dataset.pipeline[2].cache = str(tmp_path / 'cache')
    cached = TRANSFORMS.build(cfg.train_dataloader.dataset.pipeline[2])
    assert cached.cache is not None
    assert cached.spec.params == dict(scale=1000, sigma=0.8, min_size=100)

    # The rate warms up from zero: enough steps to see the loss fall.
    cfg.train_dataloader.update(batch_size=count // 2)
    cfg.train_cfg.max_epochs = 6
    cfg.optim_wrapper.optimizer.lr = 1.0
    cfg.default_hooks.checkpoint.interval = 6
    runner = train(cfg)
    losses = runner.message_hub.log_scalars['train/loss'].data[0]
    assert len(losses) >= 12
    assert torch.isfinite(torch.tensor(losses)).all()
    backbone_is_handed_on(runner, tmp_path / 'work/epoch_6.pth')
