"""What the presets of the thesis and of the public code set, row by row of projects/r2o/README.md.

Rows 15 and 23 have no argument; what each argument does is tested with its part.
"""

import inspect
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from orl_mm.engine.hooks import KMeansRefineHook
from orl_mm.registry import MODELS
from tests.settings import byol_views, flatten, plain, read

TESTS = Path(__file__).parents[1]
CONFIGS = TESTS.parent / 'configs' / 'r2o'
# Those of small/, at a batch of their own, are in test_small_natural.py and test_all_configs.py.
LISTED = yaml.safe_load((TESTS.parent / 'projects' / 'r2o' / 'metafile.yml').read_text())['Models']
FILES = [TESTS.parent / model['Config'] for model in LISTED if 'small' not in model['Config']]


@pytest.fixture(scope='module')
def presets():
    return [Config.fromfile(CONFIGS / f'r50_in1k{name}.py') for name in ('', '_official')]


def k_of(cfg, epochs):
    refine = KMeansRefineHook(read(cfg, 'custom_hooks.KMeansRefineHook.schedule'))
    return [refine.k_at(e - 1, cfg.train_cfg.max_epochs) for e in epochs]


PIPELINE = 'train_dataloader.dataset.pipeline'
VIEWS, SLIC = f'{PIPELINE}.MultiViewWithGeometry', f'{PIPELINE}.GenerateSuperpixels'
EMA = 'custom_hooks.MomentumUpdateHook'
BATCH = 4096


def set_or_default(model, name):
    """The argument as the config gives it, else the default of the model's class."""
    default = inspect.signature(MODELS.get(model.type)).parameters[name].default
    return model.get(name, default)


# row of the table in projects/r2o/README.md -> (what a config sets, thesis, official)
ROWS = {
    '1 K': (lambda c: k_of(c, (1, 100, 150, 200, 299)), [64] * 5, [127, 111, 91, 66, 4]),
    '2 lr x K/16': (
        lambda c: (
            c.optim_wrapper.optimizer.lr,
            read(c, 'custom_hooks.KMeansRefineHook').get('lr_factor_base'),
        ),
        (0.3 * BATCH / 256, None),
        (0.3 * BATCH / 256, 16),
    ),
    '3 warm-up': (
        lambda c: [
            (s.type, s.warmup, s.by_epoch, s.convert_to_iter_based) for s in c.param_scheduler
        ],
        [('orl_mm.WarmupCosineLR', 10, True, True)],
        [('orl_mm.WarmupCosineLR', 3, True, True)],
    ),
    '4 LARS': (
        lambda c: (
            *[c.optim_wrapper.optimizer[k] for k in ('type', 'eta', 'momentum', 'weight_decay')],
            c.optim_wrapper.constructor,
            c.optim_wrapper.get('paramwise_cfg', {}).get('include'),
        ),
        ('orl_mm.LARS', 1e-3, 0.9, 1e-6, 'orl_mm.LARSConstructor', None),
        ('orl_mm.LARS', 1e-3, 0.9, 1e-6, 'orl_mm.LARSConstructor', ('backbone.bn1.weight',)),
    ),
    '5 EMA': (
        lambda c: (read(c, f'{EMA}.momentum'), read(c, f'{EMA}.end_momentum')),
        (0.99, 1.0),
        (0.99, 1.0),
    ),
    '6 order': (lambda c: c.model.target_update, 'after_step', 'before_target_forward'),
    '7 flip': (lambda c: read(c, f'{VIEWS}.flip_prob'), 0.5, 1.0),
    '8 views': (
        lambda c: dict(read(c, VIEWS), flip_prob=None, backend=None),
        *[plain(byol_views(flip_prob=None, backend=None))] * 2,
    ),
    '9 x0': (lambda c: read(c, f'{SLIC}.size'), 224, 224),
    '10 SLIC': (
        lambda c: [read(c, SLIC).get(k) for k in ('method', 'num_segments', 'normalize')],
        ['slic', 100, None],
        ['slic', 100, True],
    ),
    '11 mask to C4': (lambda c: c.model.refiner.downsample, 'area', 'bilinear'),
    '12 mask pooling': (
        lambda c: (c.model.refiner.min_area, c.model.neck.min_area),
        (0.0, 0.0),
        (1.0, 1.0),
    ),
    '13 empty segments': (lambda c: c.model.refiner.cluster_empty, False, True),
    '14 K-means': (
        lambda c: (c.model.refiner.tol, c.model.refiner.get('absolute_tol')),
        (1e-4, None),
        (1e-4, 1e-6),
    ),
    '16 labels to m0': (lambda c: c.model.refiner.border, 'majority', 'blend'),
    '17 m0': (lambda c: c.model.refiner.mask_size, 56, 56),
    '18 ROIAlign': (lambda c: c.model.aligned, True, False),
    '19 rows': (
        lambda c: (
            c.model.rows,
            c.model.views,
            c.model.neck.projector.out_channels,
            *[m.hid_channels for m in (c.model.neck.projector, c.model.head.predictor)],
        ),
        ('valid', 'separate', 256, 4096, 4096),
        ('all', 'joined', 256, 4096, 4096),
    ),
    '20 valid pair': (lambda c: set_or_default(c.model, 'min_area'), 1e-3, 1e-3),
    '21 averaging': (lambda c: c.model.head.loss.average, 'image', 'region'),
    '22 symmetrised': (lambda c: c.model.head.symmetric, 'sum', 'mean'),
    '24 running statistics': (lambda c: c.model.refiner.update_running_stats, False, True),
}


@pytest.mark.parametrize('row', ROWS)
def test_row(presets, row):
    read, thesis, official = ROWS[row]
    assert read(presets[0]) == thesis
    assert read(presets[1]) == official


def test_the_presets_differ_in_nothing_else(presets):
    """Every key that differs belongs to a row above."""
    parts = (
        'model',
        'train_dataloader',
        'optim_wrapper',
        'param_scheduler',
        'custom_hooks',
        'train_cfg',
        'auto_scale_lr',
        'randomness',
        'env_cfg',
        'data_preprocessor',
    )
    first, second = (
        flatten({k: c[k].to_dict() if hasattr(c[k], 'to_dict') else c[k] for k in parts})
        for c in presets
    )
    differ = {k for k in {*first, *second} if first.get(k) != second.get(k)}
    allowed = (
        'schedule',
        'lr_factor_base',
        'warmup',
        'include',
        'target_update',
        'flip_prob',
        'normalize',
        'downsample',
        'min_area',
        'cluster_empty',
        'absolute_tol',
        'border',
        'aligned',
        'rows',
        'views',
        'average',
        'symmetric',
        'update_running_stats',
        'backend',  # no row: pixels that differ by rounding
    )
    assert {k for k in differ if not any(f'.{name}' in k for name in allowed)} == set()
    assert {name for name in allowed if any(f'.{name}' in k for k in differ)} == set(allowed)


def name(file):
    return file.relative_to(CONFIGS).as_posix()


@pytest.mark.parametrize('file', FILES, ids=name)
def test_every_config_scales_its_learning_rate_from_4096(file):
    assert Config.fromfile(file).auto_scale_lr.base_batch_size == 4096


def test_densecl_has_the_rate_of_the_stock_config_at_its_batch():
    cfg = Config.fromfile(CONFIGS / 'mixing' / 'densecl_r50_in1k.py')
    assert cfg.optim_wrapper.optimizer.lr * 256 / 4096 == pytest.approx(0.03)


@pytest.mark.parametrize('k', [4, 16, 64])
def test_imagenet100(k):
    cfg = Config.fromfile(CONFIGS / f'r50_in100_k{k}.py')
    assert cfg.model.refiner.num_clusters == k
    assert k_of(cfg, (1, 300)) == [k, k]
    assert cfg.train_dataloader.dataset.classes_file == 'imagenet100'


def test_100_epochs():
    cfg = Config.fromfile(CONFIGS / 'r50_in1k_100e.py')
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.45 * 16)
