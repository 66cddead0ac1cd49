"""Rows of the small tables differ in the method only: images, views, encoder, optimizer are one."""

from pathlib import Path

import pytest
from mmengine.config import Config

from tests.dodo_files import load_dodo

ROOT = Path(__file__).resolve().parents[2]
DODO = load_dodo('r2o')
ROWS, TABLES, TRANSFERS = DODO.ROWS, DODO.TABLES, DODO.TRANSFERS
CONFIGS = [config for _, config in ROWS.values() if config]


def load(config):
    return Config.fromfile(str(ROOT / config))


def views(cfg):
    (found,) = [
        t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'orl_mm.MultiViewWithGeometry'
    ]
    return found.to_dict()


def test_every_row_has_its_config():
    folders = [ROOT / 'configs' / name / 'small' for name in ('r2o', 'baselines')]
    files = {f.relative_to(ROOT).as_posix() for folder in folders for f in folder.glob('*.py')}
    assert set(CONFIGS) <= files
    assert all(key in ROWS for keys in TABLES.values() for key in keys)


@pytest.mark.parametrize('config', CONFIGS)
def test_equal_budget(config):
    cfg, r2o = load(config), load('configs/r2o/small/r2o.py')
    mine = views(cfg)
    if config.endswith('official.py'):  # always flips, which is one of its differences
        assert mine.pop('flip_prob') == 1.0
        mine['flip_prob'] = 0.5
    assert mine == views(r2o)
    assert (mine['size'], mine['scale'], mine['num_views']) == (112, (0.2, 1.0), [1, 1])
    data = cfg.train_dataloader
    assert (data.batch_size, data.dataset.list_file, data.drop_last) == (32, 'natural_small', True)
    for key in ('depth', 'stem_channels', 'base_channels', 'strides'):
        assert (
            cfg.model.backbone[key]
            == dict(depth=18, stem_channels=16, base_channels=16, strides=(1, 2, 2, 1))[key]
        )
    assert cfg.model.backbone.zero_init_residual is False
    assert cfg.optim_wrapper == r2o.optim_wrapper
    assert cfg.param_scheduler == r2o.param_scheduler
    assert cfg.train_cfg == r2o.train_cfg
    assert cfg.train_cfg.max_epochs == 12
    assert momentum(cfg) == pytest.approx(0.99)
    for hook in cfg.custom_hooks:
        if hook.type == 'orl_mm.KMeansRefineHook' and hook.schedule.type != 'constant':
            assert 'epochs' not in hook.schedule  # to the end of the run
    assert cfg.default_hooks.checkpoint == r2o.default_hooks.checkpoint


def momentum(cfg):
    """Of the target network at the start."""
    hooks = [hook.momentum for hook in cfg.custom_hooks if hook.type == 'orl_mm.MomentumUpdateHook']
    if hooks:
        return hooks[0]
    # mmpretrain counts from the other end.
    return 1 - cfg.model.get('base_momentum', cfg.model.get('momentum'))


@pytest.mark.parametrize('kind', TRANSFERS)
def test_transfers_take_that_encoder(kind):
    cfg = load(TRANSFERS[kind])
    assert cfg.train_cfg.max_epochs == cfg.train_cfg.val_interval
    assert cfg.default_hooks.checkpoint.interval == cfg.train_cfg.max_epochs
    backbone = cfg.model.backbone
    assert (backbone.depth, backbone.base_channels, tuple(backbone.strides)) == (
        18,
        16,
        (1, 2, 2, 1),
    )
    assert backbone.zero_init_residual is False
    assert (backbone.get('frozen_stages'), backbone.norm_eval) == (
        (4, True) if kind == 'linear' else (-1, False)
    )


def test_no_validation_image_is_pretrained_on():
    listed = (ROOT / 'orl_mm/datasets/splits/natural_small.txt').read_text().split('\n')
    listed = [line for line in listed if line]
    assert len(listed) == len(set(listed)) == 1152
    folders = {line.rsplit('/', 1)[0] for line in listed if not line.startswith('imagenet')}
    assert folders == {'coco/train2017', 'VOCdevkit/VOC2012/JPEGImages'}


def test_no_scored_image_of_voc_is_listed(shared_data):
    val = (shared_data / 'natural/VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt').read_text()
    listed = (ROOT / 'orl_mm/datasets/splits/natural_small.txt').read_text()
    assert not [name for name in val.split() if f'/{name}.jpg' in listed]
