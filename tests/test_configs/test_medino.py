"""MeDINO's configs against the tables of settings, and what each changes of the one before."""

from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

CONFIGS = Path(__file__).parents[2] / 'configs' / 'medino'
REGIMENS = ('dino', 'dino-cxr-aug', 'triangular', 'average', 'deformable')
HEADS = {0: 'left_lung', 1: 'right_lung', 2: 'heart'}


@cache
def load(regimen, small=False):
    name = f'small/{regimen}.py' if small else f'vits16_chexpert_{regimen}.py'
    return Config.fromfile(CONFIGS / name)


def hooks(cfg, name):
    return [h for h in cfg.custom_hooks if h.type == f'orl_mm.{name}']


def step(cfg, name):
    found = [t for t in cfg.train_dataloader.dataset.pipeline if t.type.split('.')[-1] == name]
    return found[0] if found else None


@pytest.mark.parametrize('regimen', REGIMENS)
def test_settings_of_the_thesis(regimen):
    """lr 1e-3 per 256, batch 28 x 8, 30 epochs, ViT-S/16 from ImageNet's DINO; the rest DINO's."""
    cfg = load(regimen)
    assert cfg.train_dataloader.batch_size * 8 == 224 == cfg.auto_scale_lr.base_batch_size
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-3 * 224 / 256, weight_decay=0.04)
    lr, decay = cfg.param_scheduler
    assert (lr.warmup, lr.final) == (10, 1e-6)
    assert (decay.param_name, decay.final) == ('weight_decay', 0.4)
    assert cfg.train_cfg.max_epochs == 30
    assert (cfg.model.backbone.arch, cfg.model.backbone.patch_size) == ('deit-small', 16)
    assert cfg.model.backbone.init_cfg == dict(
        type='orl_mm.PretrainedBackbone', checkpoint='pretrained/dino_vits16.pth'
    )
    assert cfg.model.head.out_channels == 65536
    (momentum,) = hooks(cfg, 'MomentumUpdateHook')
    assert (momentum.momentum, momentum.end_momentum) == (0.996, 1.0)
    assert cfg.train_dataloader.dataset.type == 'orl_mm.CheXpert'


@pytest.mark.parametrize('small', [False, True])
@pytest.mark.parametrize('regimen', REGIMENS)
def test_augmentation_of_each_regimen(regimen, small):
    """DINO's multi-crop for the first, the chest's global crops without flip for the others."""
    views = step(load(regimen, small), 'MultiViewWithGeometry')
    side, local = (112, 48) if small else (224, 96)
    crops = [next(t for t in v if t.type == 'RandomResizedCrop') for v in views.transforms]
    if regimen == 'dino':
        assert views.num_views == [1, 1, 8]
        assert [c.scale for c in crops] == [side, side, local]
        assert [c.crop_ratio_range for c in crops] == [(0.4, 1.0), (0.4, 1.0), (0.05, 0.4)]
        if not small:  # blur, solarising, jitter too: DINO's own, tested in test_dino.py
            own = Config.fromfile(CONFIGS.parent / 'baselines' / 'dino_vits16_in1k.py')
            (theirs,) = [t for t in own.train_pipeline if t.type == views.type]
            assert views.transforms == theirs.transforms
        return
    assert views.num_views == [2]
    assert views.template_size == 14
    assert (crops[0].scale, crops[0].crop_ratio_range) == (side, (0.4, 1.0))
    kinds = {t.type: t for t in views.transforms[0]}
    move = kinds['orl_mm.RandomRigidMotion']
    assert (move.angle, move.angle_prob, move.shift, move.shift_prob) == (10, 0.5, 0.1, 0.5)
    assert kinds['RandomFlip'].prob == 0
    jitter = kinds['RandomApply'].transforms[0]
    assert kinds['RandomApply'].prob == 0.8
    assert (jitter.brightness, jitter.contrast) == (0.3, 0.3)
    sharp = kinds['orl_mm.RandomSharpness']
    assert (sharp.factor, sharp.prob) == ((0.5, 2.0), 0.5)


@pytest.mark.parametrize('small', [False, True])
@pytest.mark.parametrize('regimen', REGIMENS)
def test_who_is_guided_by_what(regimen, small):
    cfg = load(regimen, small)
    template, guides = step(cfg, 'RegisteredTemplate'), hooks(cfg, 'AttentionRegHook')
    if regimen.startswith('dino'):
        assert template is None
        assert not guides
        return
    kinds = dict(triangular='cxr_triangles', average='.npz', deformable='data/templates')
    assert kinds[regimen] in template.source
    assert {int(head): part for head, part in guides[0].heads.items()} == HEADS
    assert 1e-6 <= guides[0].lambda1 == guides[0].lambda2 <= 1e-2
    packed = step(cfg, 'PackInputs')
    assert packed.algorithm_keys == ('template',)
    assert 'parts' in packed.meta_keys


@pytest.mark.parametrize('small', [False, True])
def test_guided_regimens_differ_by_the_template_alone(small):
    """Same steps, same model, same augmentation as the baseline with the chest's augmentation."""
    base = load('dino-cxr-aug', small).to_dict()
    for regimen in REGIMENS[2:]:
        cfg = load(regimen, small).to_dict()
        assert cfg['custom_hooks'][:-1] == base['custom_hooks']
        for key in ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg'):
            assert cfg[key] == base[key]
        pipeline = cfg['train_dataloader']['dataset'].pop('pipeline')
        plain = dict(base['train_dataloader']['dataset'])
        steps = plain.pop('pipeline')
        assert cfg['train_dataloader']['dataset'] == plain
        assert pipeline[:2] + pipeline[3:4] == steps[:3]


def test_small_configs_pretrain_on_no_scored_image():
    """Neither JSRT's 47 nor Montgomery; the templates' exemplar is scored nowhere either."""
    from orl_mm.io.image_list import read_lines

    lines = read_lines('cxr_small', 'list_file')
    assert len(lines) == len(set(lines)) == 150 + 440
    ids = {Path(line).stem for line in lines}
    assert not ids & set(read_lines('jsrt_score', 'list_file'))
    assert set(read_lines('jsrt_exemplar', 'list_file')) < set(read_lines('jsrt_segmenter', 'x'))
    assert not any(i.startswith('MCUCXR') for i in ids)
