import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS as MMPRETRAIN

from orl_mm.registry import TRANSFORMS
from orl_mm.structures.view_geometry import ViewGeometry


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def image(height=90, width=120, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def build(**options):
    options = dict(dict(transforms=[[], []], num_views=[1, 1]), **options)
    return TRANSFORMS.build(dict(type='orl_mm.MultiViewWithGeometry', **options))


def view_from(row, height, width):
    x1, y1, x2, y2 = (row[:4] * torch.tensor([width, height, width, height])).round().int().tolist()
    return ViewGeometry(x1, y1, x2, y2, height, width, bool(row[4]))


def test_recorded_geometry_makes_the_same_view_again():
    img = image()
    np.random.seed(0)
    out = build(num_views=[2, 1], size=32).transform(dict(img=img))
    assert (out['views'].shape, out['views'].dtype) == ((3, 5), torch.float32)
    assert out['img_shape'] == (32, 32)
    for view, row in zip(out['img'], out['views'], strict=True):
        assert np.array_equal(view, view_from(row, 90, 120).apply_image(img, 32))
    assert len({tuple(r.tolist()) for r in out['views']}) == 3


def test_x0_is_the_last_image_and_no_view():
    x0 = image(8, 8)
    out = build(size=8).transform(dict(img=image(), x0=x0))
    assert len(out['img']) == 3
    assert out['views'].shape == (2, 5)
    assert out['img'][2] is x0


@pytest.mark.parametrize('prob', [0.0, 0.5, 1.0])
def test_flip_prob(prob):
    np.random.seed(0)
    views = build(flip_prob=prob, size=2)
    flips = [views.transform(dict(img=image(4, 4)))['views'][:, 4] for _ in range(200)]
    assert abs(torch.stack(flips).mean().item() - prob) < 0.08


def test_input_is_unchanged_and_views_are_independent():
    img = image()
    before = img.copy()
    solarize = dict(type='Solarize', thr=0, prob=1.0)
    whole = dict(scale=(1, 1), ratio=(1, 1), flip_prob=0.0)
    np.random.seed(0)
    results = build(transforms=[[solarize], []], size=16, **whole).transform(dict(img=img))
    assert np.array_equal(img, before)
    first, second = (view_from(r, 90, 120).apply_image(img, 16) for r in results['views'])
    assert np.array_equal(results['img'][0], 255 - first)
    assert np.array_equal(results['img'][1], second)


@pytest.mark.parametrize(
    'name',
    [
        'byol/byol_resnet50_16xb256-coslr-200e_in1k.py',
        'densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py',
    ],
)
def test_drop_in_for_multi_view(name):
    """A stock config with only the type changed: same draws, same views."""
    stock = get_config(f'mmpretrain::{name}').train_dataloader.dataset.pipeline
    stock = next(t for t in stock if t['type'] == 'MultiView').to_dict()
    ours = dict(copy.deepcopy(stock), type='orl_mm.MultiViewWithGeometry')
    reference, views = MMPRETRAIN.build(stock), TRANSFORMS.build(ours)
    assert sum(views.num_views) == 2
    crop, policy = reference.pipelines[0].transforms[0], views.policies[0]
    assert (policy.size, policy.scale) == (crop.scale, crop.crop_ratio_range)
    assert (policy.interpolation, policy.flip_prob) == (crop.interpolation, 0.5)
    assert len(views.pipelines[0].transforms) == len(reference.pipelines[0].transforms) - 2
    np.random.seed(3)
    out = views.transform(dict(img=image()))
    pack = MMPRETRAIN.build(dict(type='PackInputs')).transform(out)
    assert [tuple(x.shape) for x in pack['inputs']] == 2 * [(3, 224, 224)]


def test_stock_crop_and_ours_are_the_same_pixels():
    img = image()
    crop = dict(type='RandomResizedCrop', scale=32, interpolation='bicubic', backend='pillow')
    np.random.seed(5)
    # mmpretrain draws y and then x, as ViewGeometry.sample does.
    expected = MMPRETRAIN.build(crop).transform(dict(img=img))['img']
    np.random.seed(5)
    out = build(transforms=[[dict(crop)]], num_views=1).transform(dict(img=img))
    assert np.array_equal(out['img'][0], expected)
    assert not out['views'][0, 4]  # a pipeline without a flip


def test_one_pixel_image_makes_views():
    out = build(size=4).transform(dict(img=image(1, 1)))
    assert out['views'][:, :4].tolist() == 2 * [[0.0, 0.0, 1.0, 1.0]]


def test_stock_multi_view_takes_our_transforms():
    blur = dict(type='orl_mm.GaussianBlur', kernel_size=5)
    stock = MMPRETRAIN.build(dict(type='MultiView', num_views=2, transforms=[[blur]]))
    out = stock.transform(dict(img=image()))
    assert [v.shape for v in out['img']] == 2 * [(90, 120, 3)]


def test_config_object_is_accepted():
    views = dict(type='orl_mm.MultiViewWithGeometry', transforms=[[], []], num_views=[1, 1])
    assert len(TRANSFORMS.build(Config(dict(t=views)).t).policies) == 2
