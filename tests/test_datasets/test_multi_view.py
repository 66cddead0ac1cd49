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
    assert out['views'].shape == (3, 5)
    assert out['views'].dtype == torch.float32
    assert len(out['img']) == 3
    assert out['img_shape'] == (32, 32)
    for view, row in zip(out['img'], out['views'], strict=False):
        assert np.array_equal(view, view_from(row, 90, 120).apply_image(img, 32))
    assert len({tuple(r.tolist()) for r in out['views']}) == 3


def test_x0_is_the_last_image_and_no_view():
    x0 = image(8, 8)
    out = build(size=8).transform(dict(img=image(), x0=x0))
    assert len(out['img']) == 3
    assert out['views'].shape == (2, 5)
    assert out['img'][2] is x0


@pytest.mark.parametrize(('prob', 'share'), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_flip_prob(prob, share):
    """Row 7: `official` always flips both views."""
    np.random.seed(0)
    views = build(flip_prob=prob, size=2)
    flips = [views.transform(dict(img=image(4, 4)))['views'][:, 4] for _ in range(200)]
    assert abs(torch.stack(flips).mean().item() - share) < 0.08


def test_input_is_left_alone_and_views_are_independent():
    img = image()
    before = img.copy()
    out = build(
        transforms=[[dict(type='Solarize', thr=0, prob=1.0)], []],
        scale=(1, 1),
        ratio=(1, 1),
        flip_prob=0.0,
        size=16,
    )
    np.random.seed(0)
    results = out.transform(dict(img=img))
    assert np.array_equal(img, before)
    geometry = [view_from(r, 90, 120) for r in results['views']]
    assert np.array_equal(results['img'][0], 255 - geometry[0].apply_image(img, 16))
    assert np.array_equal(results['img'][1], geometry[1].apply_image(img, 16))


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
    crop = reference.pipelines[0].transforms[0]
    policy = views.policies[0]
    assert policy.size == crop.scale
    assert policy.scale == crop.crop_ratio_range
    assert policy.interpolation == crop.interpolation
    assert policy.flip_prob == 0.5
    assert len(views.pipelines[0].transforms) == len(reference.pipelines[0].transforms) - 2
    np.random.seed(3)
    out = views.transform(dict(img=image()))
    pack = MMPRETRAIN.build(dict(type='PackInputs')).transform(out)
    assert [tuple(x.shape) for x in pack['inputs']] == 2 * [(3, 224, 224)]


def test_stock_crop_and_ours_are_the_same_pixels():
    img = image()
    stock = MMPRETRAIN.build(
        dict(type='RandomResizedCrop', scale=32, interpolation='bicubic', backend='pillow')
    )
    views = build(
        transforms=[
            [dict(type='RandomResizedCrop', scale=32, interpolation='bicubic', backend='pillow')]
        ],
        num_views=1,
    )
    np.random.seed(5)
    # mmpretrain draws y and then x, as ViewGeometry.sample does.
    expected = stock.transform(dict(img=img))['img']
    np.random.seed(5)
    out = views.transform(dict(img=img))
    assert np.array_equal(out['img'][0], expected)
    assert not out['views'][0, 4]  # a pipeline without a flip


@pytest.mark.parametrize(
    'bad',
    [
        dict(type='Rotate', angle=10.0),
        dict(type='Resize', scale=(8, 8)),
        dict(type='RandomApply', transforms=[dict(type='RandomFlip', prob=1.0)]),
        dict(type='RandomFlip', prob=1.0, direction='vertical'),
    ],
)
def test_moving_pixels_afterwards_is_refused(bad):
    with pytest.raises(ValueError, match='moves pixels'):
        build(transforms=[[bad], []])


def test_arguments():
    with pytest.raises(ValueError, match='2 pipelines'):
        build(num_views=[1])
    with pytest.raises(ValueError, match='flip_prob'):
        build(flip_prob=2.0)
    flip = dict(type='RandomFlip', prob=0.5)
    with pytest.raises(ValueError, match='flips 2 times'):
        build(transforms=[[flip, flip], []])
    with pytest.raises(TypeError):
        build(wrong=1)


def test_one_pixel_image_makes_views():
    out = build(size=4).transform(dict(img=image(1, 1)))
    assert out['views'][:, :4].tolist() == 2 * [[0.0, 0.0, 1.0, 1.0]]


def test_stock_multi_view_takes_our_transforms():
    stock = MMPRETRAIN.build(
        dict(
            type='MultiView',
            num_views=2,
            transforms=[[dict(type='orl_mm.GaussianBlur', kernel_size=5)]],
        )
    )
    out = stock.transform(dict(img=image()))
    assert [v.shape for v in out['img']] == 2 * [(90, 120, 3)]


def test_config_object_is_accepted():
    cfg = Config(
        dict(t=dict(type='orl_mm.MultiViewWithGeometry', transforms=[[], []], num_views=[1, 1]))
    )
    assert len(TRANSFORMS.build(cfg.t).policies) == 2
