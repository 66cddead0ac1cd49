"""Baselines on mmpretrain's algorithms against the tables of settings, number by number."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmpretrain.models.utils import CosineEMA
from torch import nn

from orl_mm.registry import HOOKS, MODELS, TRANSFORMS
from tests.settings import GRAY, jitter, plain, read, settings_are, sometimes

CONFIGS = Path(__file__).parents[2] / 'configs'
NAMES = ('supervised', 'random', 'mocov1', 'mocov2', 'byol', 'byol_100e', 'densecl')
IMAGENET, BATCHES = 1281167, 1281167 // 4096
WARMUP = dict(by_epoch=True, convert_to_iter_based=True)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def load(name):
    return Config.fromfile(CONFIGS / 'baselines' / f'{name}_r50_in1k.py')


# --- BYOL


@pytest.mark.parametrize(('name', 'epochs', 'rate'), [('byol', 300, 0.3), ('byol_100e', 100, 0.45)])
def test_byol_has_the_common_settings(name, epochs, rate):
    optimizer = dict(type='orl_mm.LARS', momentum=0.9, weight_decay=1e-6, eta=1e-3)
    settings_are(
        load(name),
        {
            'optim_wrapper': dict(
                type='OptimWrapper',
                constructor='orl_mm.LARSConstructor',
                optimizer=dict(optimizer, lr=pytest.approx(rate * 16)),
            ),
            'param_scheduler': [dict(WARMUP, type='orl_mm.WarmupCosineLR', warmup=10)],
            'train_cfg.max_epochs': epochs,
            'auto_scale_lr.base_batch_size': 4096,
            'train_dataloader.batch_size': 4096 // 128,
            'model.base_momentum': pytest.approx(1 - 0.99),
        },
    )


def test_byol_networks():
    """ResNet-50, 2048-4096-256 and 256-4096-256, Linear-BN-ReLU-Linear, SyncBN everywhere."""
    model = MODELS.build(load('byol').model)
    for mlp, sizes in ((model.neck, (2048, 4096, 256)), (model.head.predictor, (256, 4096, 256))):
        assert [
            (m.in_features, m.out_features) for m in mlp.modules() if isinstance(m, nn.Linear)
        ] == [sizes[:2], sizes[1:]]
        assert [m.num_features for m in mlp.modules() if isinstance(m, nn.SyncBatchNorm)] == [4096]
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    assert all(isinstance(m, nn.SyncBatchNorm) for m in norms)
    assert len(norms) == 2 * (53 + 1) + 1  # encoder and projector twice, predictor
    trained = sum(p.numel() for p in model.backbone.parameters())
    assert trained == 23508032  # torchvision's resnet50 without its classifier
    assert not any(p.requires_grad for p in model.target_net.parameters())


def test_byol_differs_from_r2o_by_the_model_and_its_hooks_alone():
    """The comparison of table 2.2 is one of methods: views, optimizer and schedule are the same."""
    mine, theirs = load('byol'), Config.fromfile(CONFIGS / 'r2o' / 'r50_in1k.py')
    for key in (
        'optim_wrapper',
        'param_scheduler',
        'train_cfg',
        'auto_scale_lr',
        'randomness',
        'default_hooks',
        'data_preprocessor',
    ):
        assert mine[key] == theirs[key], key
    ours = dict(mine.train_dataloader.dataset), dict(theirs.train_dataloader.dataset)
    pipelines = [data.pop('pipeline') for data in ours]
    assert ours[0] == ours[1]
    views = [read(pipeline, 'MultiViewWithGeometry') for pipeline in pipelines]
    assert views[0] == views[1]


def test_byol_model_is_that_of_mmpretrain():
    stock = get_config('mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py').model
    mine = plain(load('byol').model)
    assert mine['head']['loss'].pop('shift_factor') == 1
    assert mine.pop('type') == 'orl_mm.BYOL'  # its subclass, which does not wait for the GPU
    assert mine == {key: value for key, value in plain(stock).items() if key != 'type'}


def test_byol_loss_by_hand():
    """2 - 2 cos of each view's prediction and the other one's target, both directions added."""
    cfg = load('byol')
    cfg.model.backbone.update(depth=18, base_channels=8, stem_channels=8, norm_cfg=dict(type='BN'))
    size = dict(hid_channels=16, out_channels=8, norm_cfg=dict(type='BN1d'))
    cfg.model.neck.update(in_channels=64, **size)
    cfg.model.head.predictor.update(in_channels=8, **size)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    MessageHub.get_current_instance().update_info('max_iters', 10)
    views = [torch.randn(4, 3, 64, 64) for _ in range(2)]
    loss = model.loss(views, None)['loss']
    online = [model.head.predictor(model.neck(model.backbone(x)))[0] for x in views]
    target = [model.target_net.module(x)[0] for x in views]
    by_hand = 0.0
    for p, z in zip(online, target[::-1], strict=False):
        cosine = (p * z).sum(1) / (p.norm(dim=1) * z.norm(dim=1))
        by_hand += (2 - 2 * cosine).mean()
    torch.testing.assert_close(loss, by_hand)
    loss.backward()
    assert model.backbone.conv1.weight.grad.abs().max() > 0


def test_byol_momentum_over_the_300_epochs():
    r"""tau_k = 1 - (1 - 0.99) (cos(pi k / K) + 1) / 2, K = 300 x 312, for the update after step k.

    mmpretrain makes it before the pass of step k + 1 and counts from there.
    """
    total = 300 * BATCHES
    assert total == 93600
    ema = CosineEMA(nn.Linear(1, 1), momentum=load('byol').model.base_momentum)
    MessageHub.get_current_instance().update_info('max_iters', total)
    for k in [0, 1, 10, *range(997, total, 997), total - 2]:
        paper = 1 - (1 - 0.99) * (math.cos(math.pi * k / total) + 1) / 2
        average = torch.ones(1, dtype=torch.float64)
        ema.avg_func(average, torch.zeros_like(average), torch.tensor(k + 1))
        assert average.item() == pytest.approx(paper, abs=2e-7), k
    assert average.item() == pytest.approx(1, abs=1e-8)


# --- MoCo, MoCo v2, DenseCL

CROP = dict(type='RandomResizedCrop', scale=224, crop_ratio_range=[0.2, 1.0], backend='pillow')
FLIP = dict(type='RandomFlip', prob=0.5)
BLUR = dict(type='GaussianBlur', magnitude_range=[0.1, 2.0], magnitude_std='inf', prob=0.5)
MOCO_V2_VIEW = [CROP, sometimes(jitter(0.4, 0.4, 0.4, 0.1), 0.8), GRAY, BLUR, FLIP]
# SGD 0.03 for 256 images, decay 1e-4, 200 epochs, queue 65,536, momentum 0.999, 128-d.
MOCO = {
    'optim_wrapper': dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=0.03, weight_decay=1e-4, momentum=0.9)
    ),
    'train_cfg.max_epochs': 200,
    'auto_scale_lr.base_batch_size': 256,
    'train_dataloader.batch_size': 256 // 8,
    'train_dataloader.drop_last': True,  # a smaller batch would not divide the queue
    'model.queue_len': 65536,
    'model.feat_dim': 128,
    'model.momentum': pytest.approx(1 - 0.999),
    'model.backbone': dict(
        type='ResNet', depth=50, norm_cfg=dict(type='BN'), zero_init_residual=False
    ),
    'model.head.type': 'ContrastiveHead',
    'model.head.loss': dict(type='CrossEntropyLoss'),
    'model.head.temperature': 0.2,
    # Without T_max: to the end of the run.
    'param_scheduler': [dict(type='CosineAnnealingLR', by_epoch=True)],
    'train_pipeline.MultiView': dict(type='MultiView', num_views=2, transforms=[MOCO_V2_VIEW]),
}
MOCO_V1 = {
    'model.head.temperature': 0.07,
    'param_scheduler': [dict(type='MultiStepLR', by_epoch=True, milestones=[120, 160], gamma=0.1)],
    # InstDisc's view: gray first, jitter always and with hue 0.4, no blur.
    'train_pipeline.MultiView': dict(
        type='MultiView', num_views=2, transforms=[[CROP, GRAY, jitter(0.4, 0.4, 0.4, 0.4), FLIP]]
    ),
}


@pytest.mark.parametrize('name', ['mocov1', 'mocov2', 'densecl'])
def test_contrastive_baselines_have_mocos_settings(name):
    cfg = load(name)
    settings_are(cfg, {**MOCO, **(MOCO_V1 if name == 'mocov1' else {})})
    assert cfg.train_pipeline == cfg.train_dataloader.dataset.pipeline


def test_necks_of_the_contrastive_baselines():
    """One linear layer, a MLP of 2048, and DenseCL's two with a dense one of 1 x 1."""
    necks = {}
    for name in ('mocov1', 'mocov2', 'densecl'):
        with torch.device('meta'):
            necks[name] = MODELS.build(load(name).model.neck)
    shapes = {
        name: {key: tuple(value.shape) for key, value in neck.state_dict().items()}
        for name, neck in necks.items()
    }
    assert shapes['mocov1'] == {'fc.weight': (128, 2048), 'fc.bias': (128,)}
    mlp = {
        'mlp.0.weight': (2048, 2048),
        'mlp.0.bias': (2048,),
        'mlp.2.weight': (128, 2048),
        'mlp.2.bias': (128,),
    }
    assert shapes['mocov2'] == mlp
    dense = {
        key.replace('mlp', 'mlp2'): shape + (1, 1) * (len(shape) == 2) for key, shape in mlp.items()
    }
    assert shapes['densecl'] == {**mlp, **dense}
    model = load('densecl').model
    assert model.loss_lambda == 0.5
    assert model.neck.num_grid is None


def test_the_neck_of_mocov1_averages_the_map():
    neck = MODELS.build(dict(load('mocov1').model.neck, in_channels=3, out_channels=2))
    maps = torch.randn(4, 3, 7, 7)
    torch.testing.assert_close(neck((maps,))[0], neck.fc(maps.mean((2, 3))))


# --- Supervised, random, and all


def test_supervised():
    """He's recipe: SGD 0.1 for 256 images, tenths at 30, 60, 90 of 100, crops of (0.08, 1)."""
    cfg = load('supervised')
    training, test = 'train_dataloader.dataset', 'test_dataloader.dataset'
    settings_are(
        cfg,
        {
            'optim_wrapper': dict(
                optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4)
            ),
            'param_scheduler': dict(
                type='MultiStepLR', by_epoch=True, milestones=[30, 60, 90], gamma=0.1
            ),
            'train_cfg.max_epochs': 100,
            'auto_scale_lr.base_batch_size': 256,
            'train_dataloader.batch_size': 256 // 8,
            'model.head.num_classes': 1000,
            'model.backbone.depth': 50,
            f'{test}.pipeline.LoadImage.max_bad': 0,  # a validation image is never another one
            f'{test}.pipeline.ResizeEdge.scale': 256,
            f'{test}.pipeline.CenterCrop.crop_size': 224,
            f'{training}.split': 'train',
            f'{test}.split': 'val',
        },
    )
    assert cfg.val_dataloader.dataset == cfg.test_dataloader.dataset
    kinds = [
        [t.type.split('.')[-1] for t in loader.dataset.pipeline]
        for loader in (cfg.train_dataloader, cfg.test_dataloader)
    ]
    assert kinds[0] == ['SeedSample', 'LoadImage', 'RandomResizedCrop', 'RandomFlip', 'PackInputs']
    assert kinds[1] == ['LoadImage', 'ResizeEdge', 'CenterCrop', 'PackInputs']
    crop = read(cfg, f'{training}.pipeline.RandomResizedCrop')
    crop = TRANSFORMS.build(dict(crop, type='mmpretrain.RandomResizedCrop'))
    assert (crop.scale, crop.crop_ratio_range) == ((224, 224), (0.08, 1.0))


def test_random_is_the_supervised_network():
    cfg, theirs = load('random'), load('supervised')
    assert cfg.model == theirs.model
    assert cfg.randomness == theirs.randomness
    assert cfg.train_cfg.max_epochs == 0
    assert cfg.val_cfg is None
    assert 'orl_mm.SaveInitialHook' in [hook.type for hook in cfg.custom_hooks]


@pytest.mark.parametrize('name', NAMES)
def test_every_baseline_is_seeded(name):
    """Resumable bit for bit: by image, by step where the network draws, and by the run."""
    cfg = load(name)
    assert plain(cfg.randomness) == dict(seed=0, diff_rank_seed=True)
    pipeline = [t.type for t in cfg.train_dataloader.dataset.pipeline]
    assert pipeline[:2] == ['orl_mm.SeedSample', 'orl_mm.LoadImage']
    hooks = [hook.type for hook in cfg.custom_hooks]
    assert all(HOOKS.get(hook) for hook in hooks)
    if name != 'random':
        assert 'orl_mm.SetEpochHook' in hooks
    if name in ('mocov1', 'mocov2', 'densecl'):
        assert 'orl_mm.SeedStepHook' in hooks
    root = cfg.train_dataloader.dataset.get('data_root')
    assert root == dict(supervised='data/imagenet', random=None).get(name, 'data/imagenet/train')
    if name != 'random':
        assert cfg.default_hooks.checkpoint.interval == 10
