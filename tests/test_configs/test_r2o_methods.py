"""Configs of R2O's relatives: each trains two steps, made small, through the Runner."""

import math

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

import orl_mm  # noqa: F401
from orl_mm.registry import TRANSFORMS
from tests.small import CONFIGS, SIDE, write_photographs
from tests.small import small as small_r2o

NUM, BATCH = 8, 4


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """Eight pictures of four patches each, and their label maps."""
    root = tmp_path_factory.mktemp('photographs')
    write_photographs(root / 'images', NUM)
    (root / 'masks').mkdir()
    labels = np.arange(4, dtype=np.uint8).reshape(2, 2).repeat(48, 0).repeat(48, 1)
    for i in range(NUM):
        Image.fromarray(labels).save(root / 'masks' / f'{i}.png')
    return root


def small(name, photographs, work_dir, epochs=1):
    """The config in two steps an epoch."""
    cfg = small_r2o(name, photographs / 'images', work_dir, BATCH, epochs)
    if 'positives' in cfg.model:
        cfg.model.positives.update(dim=32)
        if not cfg.model.positives.get('same_cluster'):
            cfg.model.positives.update(queue_size=8)  # full after the first step
    for transform in cfg.train_dataloader.dataset.pipeline:
        if transform.get('method') == 'files':
            transform.update(folder=str(photographs / 'masks'), root=str(photographs / 'images'))
    if cfg.optim_wrapper.type == 'AmpOptimWrapper':  # mmengine's needs a GPU
        cfg.optim_wrapper.type = 'OptimWrapper'
        cfg.optim_wrapper.pop('loss_scale')
    return cfg


class Watch(Hook):
    """The losses, and the rate of each group as the step used it."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.losses, self.rates = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        # Not the wrapper's groups: mmengine adds one for the log there, never scaled.
        self.rates.append([g['lr'] for g in runner.optim_wrapper.optimizer.param_groups])

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())


def train(cfg):
    runner, watch = Runner.from_cfg(cfg), Watch()
    runner.register_hook(watch)
    before = runner.model.backbone.conv1.weight.detach().clone()
    runner.train()
    assert len(watch.losses) == NUM // BATCH
    assert np.isfinite(watch.losses).all()
    assert not torch.equal(before, runner.model.backbone.conv1.weight)
    return runner, watch


def names():
    return sorted(p.stem for p in CONFIGS.glob('r50_*.py'))


@pytest.mark.parametrize('name', ['r50_in1k_noprior', 'r50_in1k_100e_mocov3'])
def test_trains(name, photographs, tmp_path):
    runner, watch = train(small(name, photographs, tmp_path))
    assert 0 < watch.losses[0] < 40
    if name == 'r50_in1k_noprior':
        labels = runner.model.last.labels0
        assert labels.unique().numel() > 4
        assert runner.model.last.num_clusters == 64


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    sorted(set(names()) - {'r50_in1k_noprior', 'r50_in1k_100e_mocov3', 'r50_in1k_100e_simsiam'}),
)
def test_trains_too(name, photographs, tmp_path):
    runner, _ = train(small(name, photographs, tmp_path))
    if name == 'r50_in1k_nn':
        assert runner.model.positives.progress.tolist()[1] == NUM // BATCH
        saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict']
        assert torch.equal(saved['positives.queue'], runner.model.positives.queue)
        assert saved['positives.queue'].norm(dim=1).allclose(torch.ones(8))


@pytest.mark.parametrize('hook', [None, 'SimSiamHook'])
def test_simsiam_keeps_the_rate_of_its_predictor(hook, photographs, tmp_path):
    """mmpretrain's hook sets the rate once an epoch, so it needs a schedule by epoch."""
    cfg = small('r50_in1k_100e_simsiam', photographs, tmp_path, epochs=2)
    cfg.auto_scale_lr.enable = True  # batch 4 of 4096
    scaled = 0.05 * 4096 / 256 * BATCH / 4096
    share = [(1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    if hook == 'SimSiamHook':
        cfg.custom_hooks.append(dict(type=hook, fix_pred_lr=True, lr=scaled))
        cfg.param_scheduler = [dict(type='CosineAnnealingLR', T_max=2, by_epoch=True)]
        share = [1.0, 1.0, 0.5, 0.5]
    runner, watch = Runner.from_cfg(cfg), Watch()
    runner.register_hook(watch)
    runner.train()
    assert runner.model.target is None
    assert -1 < watch.losses[0] < 1
    groups = runner.optim_wrapper.optimizer.param_groups
    fixed = [bool(g.get('fix_lr')) for g in groups]
    assert sum(fixed) == len(list(runner.model.head.predictor.parameters()))
    assert len(watch.rates) == len(share)
    for part, rates in zip(share, watch.rates, strict=False):
        for is_fixed, rate in zip(fixed, rates, strict=False):
            assert rate == pytest.approx(scaled if is_fixed else scaled * part)


def test_without_a_prior_the_pipeline_packs_no_regions(photographs, tmp_path):
    pipeline = small('r50_in1k_noprior', photographs, tmp_path).train_dataloader.dataset.pipeline
    sample = dict(img_path=str(photographs / 'images' / '0.png'), sample_idx=0)
    for transform in pipeline:
        sample = TRANSFORMS.build(
            transform
            if '.' in transform.type
            else dict(transform, type=f'mmpretrain.{transform.type}')
        )(sample)
    assert [tuple(x.shape) for x in sample['inputs']] == [(3, SIDE, SIDE)] * 3
    assert sample['data_samples'].views.shape == (2, 5)
    assert 'regions' not in sample['data_samples']
