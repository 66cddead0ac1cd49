"""Every algorithm that a config names stops at NaN, and its last good checkpoint stays."""

import math
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from orl_mm.engine.hooks import NaNGuardHook
from orl_mm.errors import DivergedError
from orl_mm.registration.template import Template, write_template
from tests.small import (
    small,
    small_detcon,
    small_infomin,
    small_pixpro,
    small_vader,
    tiny_dino,
    write_photographs,
)
from tests.test_configs.test_baselines_runs import small as small_stock

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
PARTS = ('left_lung', 'right_lung', 'heart')

pytestmark = pytest.mark.slow


class Poison(Hook):
    """NaN in the backbone at the start of the second epoch."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch == 1 and batch_idx == 0:
            next(runner.model.backbone.parameters()).data.fill_(math.nan)


def vit(name):
    def config(images, work_dir):
        cfg = Config.fromfile(CONFIGS / f'{name}.py')
        tiny_dino(cfg, images / 'a', locals_=2 if 'dino' in name else 0)
        for step in cfg.train_dataloader.dataset.pipeline:
            if step.type == 'orl_mm.RegisteredTemplate':
                maps = np.full((3, 8, 8), 0.5, np.float32)
                write_template(images / 'average.npz', Template(PARTS, maps))
                step.source = str(images / 'average.npz')
        for hook in cfg.custom_hooks:
            if hook.type == 'orl_mm.AttentionVisualizationHook':
                hook.update(num_images=2, interval=1)  # refuses NaN by itself
        return cfg

    return config


ALGORITHMS = dict(
    r2o=lambda images, folder: small('r50_in1k', images / 'a', folder, 3, 2),
    simsiam=lambda images, folder: small('r50_in1k_100e_simsiam', images / 'a', folder, 3, 2),
    mocov3=lambda images, folder: small('r50_in1k_100e_mocov3', images / 'a', folder, 3, 2),
    detcon=lambda images, folder: small_detcon('detcon-b', images / 'a', folder, 3, 2),
    pixpro=lambda images, folder: small_pixpro(images / 'a', folder, epochs=2),
    vader=lambda images, folder: small_vader(images / 'a', folder, epochs=2),
    infomin=lambda images, folder: small_infomin(images / 'a', folder, epochs=2),
    dino=vit('baselines/dino_vits16_in1k'),
    medino=vit('medino/vits16_chexpert_average'),
    medino_mocov3=vit('medino/mixing/vits16_chexpert_mocov3_triangular'),
    **{
        name: lambda images, folder, name=name: small_stock(name, images, folder, 2)
        for name in ('supervised', 'mocov1', 'mocov2', 'byol', 'densecl')
    },
)


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp('photographs')
    for seed, name in enumerate(('a', 'b')):
        write_photographs(root / name, 6, patch=40, seed=seed)
    return root


def train(runner, guard):
    """As tools/train.py does."""
    try:
        runner.train()
    except Exception as error:
        guard.explain(runner, error)
        raise


def stops(cfg, folder):
    init_default_scope(cfg.default_scope)
    cfg.update(work_dir=str(folder), experiment_name=f'{folder}'.replace('/', '_'))
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    if cfg.optim_wrapper.get('type') == 'AmpOptimWrapper':  # needs a GPU
        cfg.optim_wrapper = dict(optimizer=cfg.optim_wrapper.optimizer)
    cfg.default_hooks.checkpoint.type = 'orl_mm.DurableCheckpointHook'
    runner, guard = Runner.from_cfg(cfg), NaNGuardHook()
    for hook in (guard, Poison()):
        runner.register_hook(hook)
    with pytest.raises(DivergedError) as stopped:
        train(runner, guard)
    assert str(stopped.value).startswith('step ')
    assert f'{folder}/epoch_1.pth' in str(stopped.value)
    assert [path.name for path in folder.glob('*.pth')] == ['epoch_1.pth']


@pytest.mark.parametrize('name', ALGORITHMS)
def test_pretraining_stops(name, photographs, tmp_path):
    stops(ALGORITHMS[name](photographs, tmp_path / 'work'), tmp_path / 'work')


def test_segmentation_stops(tmp_path):
    pytest.importorskip('mmseg')
    from tests.test_configs.test_transfer_segmentation_runs import tiny, written

    cfg = tiny('cityscapes', written('cityscapes', tmp_path, train=4, val=1), tmp_path, '', crop=33)
    cfg.model.backbone.init_cfg = None
    cfg.train_cfg.max_epochs = 2
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    stops(cfg, tmp_path / 'work')
