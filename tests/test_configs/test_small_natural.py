"""The small tables compare methods alone: images, views, encoder, steps and optimiser are one."""

import sys
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))
from _evidence.plan import ROWS, TABLES, TRANSFERS, Plan  # noqa: E402

CONFIGS = [row.config for row in ROWS.values() if row.config]


def load(config):
    return Config.fromfile(str(ROOT / config))


def views(cfg):
    (found,) = [
        t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'orl_mm.MultiViewWithGeometry'
    ]
    return found.to_dict()


def test_every_small_config_is_a_row():
    folders = [ROOT / 'configs' / name / 'small' for name in ('r2o', 'baselines')]
    assert {
        f.relative_to(ROOT).as_posix() for folder in folders for f in folder.glob('*.py')
    } == set(CONFIGS)
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


def test_plan(tmp_path):
    """Each transfer waits for its pretraining, that for its superpixels; seeds reach all draws."""
    plan = Plan(tmp_path, tmp_path / 'data')
    scores = plan.transfer(ROWS['official'], 2, 'fine-tuned')
    assert scores == tmp_path / 'transfer/fine-tuned_official_seed2/areas.npz'
    cache, pretrain, transfer, test = plan.jobs.values()
    assert (pretrain.after, transfer.after, test.after) == (
        [cache.name],
        [pretrain.name],
        [transfer.name],
    )
    assert cache.name == 'superpixels_slic_normalize-True_num_segments-100'
    assert pretrain.done == tmp_path / 'pretrain/official_seed2/epoch_12.pth'
    assert {'randomness.seed=2', 'train_dataloader.dataset.pipeline.0.seed=2'} <= set(
        pretrain.command
    ) & set(transfer.command)
    folder = tmp_path / 'superpixels/slic_normalize-True_num_segments-100'
    assert f'train_dataloader.dataset.pipeline.2.cache={folder}' in pretrain.command
    assert f'model.backbone.init_cfg.checkpoint={pretrain.done}' in transfer.command
    # Rows with the same superpixels share them; a random row has no pretraining.
    for key in ('r2o', 'k4', 'no-clustering', 'random', 'no-prior'):
        plan.transfer(ROWS[key], 2, 'linear')
        plan.transfer(ROWS[key], 2, 'fine-tuned')
    assert sorted(name for name in plan.jobs if name.startswith('superpixels')) == [
        'superpixels_slic_normalize-True_num_segments-100',
        'superpixels_slic_num_segments-100',
    ]
    assert 'random_seed2' not in plan.jobs
    assert 'model.backbone.init_cfg=None' in plan.jobs['fine-tuned_random_seed2'].command
    fitted = [plan.jobs[f'linear_{key}_seed2'] for key in ('random', 'r2o')]
    assert [job.command[-3] for job in fitted] == [
        'random:2',
        str(tmp_path / 'pretrain/r2o_seed2/epoch_12.pth'),
    ]
    assert [job.after for job in fitted] == [[], ['r2o_seed2']]
    assert str(fitted[1].done) in plan.jobs['linear_r2o_seed2_test'].command
    assert plan.jobs['no-prior_seed2'].after == []


@pytest.mark.parametrize(('epochs', 'warmup'), [(1, 0), (3, 1)])
def test_a_try_has_a_schedule_that_fits(epochs, warmup, tmp_path):
    plan = Plan(tmp_path, tmp_path / 'data', epochs, epochs)
    plan.transfer(ROWS['byol'], 0, 'fine-tuned')
    names = (f'byol_seed0_{epochs}epochs', f'fine-tuned_byol_seed0_{epochs}epochs_transfer{epochs}')
    for name in names:
        assert {
            f'param_scheduler.0.end={epochs}',
            f'param_scheduler.0.warmup={warmup}',
            f'train_cfg.max_epochs={epochs}',
        } <= set(plan.jobs[name].command)
        assert plan.jobs[name].done.name == f'epoch_{epochs}.pth'
    # Nothing of a try lies where the real table looks for it.
    real = Plan(tmp_path, tmp_path / 'data')
    for kind in TRANSFERS:
        plan.transfer(ROWS['byol'], 0, kind)
        real.transfer(ROWS['byol'], 0, kind)
    assert not set(real.jobs) & set(plan.jobs)
    assert not {j.done for j in real.jobs.values()} & {j.done for j in plan.jobs.values()}
    assert all(len(load(row.config).param_scheduler) == 1 for row in ROWS.values() if row.config)
