"""Templates are added to a sample and follow the geometry of its views."""

import json

import mmpretrain.datasets  # noqa: F401  (registers its transforms)
import numpy as np
import pytest
import torch

from orl_mm.datasets.transforms import (
    MultiViewWithGeometry,
    RandomRigidMotion,
    RandomSharpness,
    RegisteredTemplate,
)
from orl_mm.registration.template import Template, write_template
from orl_mm.structures import RigidMotion, ViewGeometry


@pytest.fixture
def polygons(tmp_path):
    upper = [[[0, 0], [1, 0], [1, 0.5], [0, 0.5]]]
    right = [[[0.5, 0], [1, 0], [1, 1], [0.5, 1]]]
    path = tmp_path / 'halves.json'
    path.write_text(json.dumps(dict(parts=dict(upper=upper, right=right))))
    return str(path)


def sample(height=120, width=160, seed=0):
    img = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return dict(img=img, img_shape=(height, width))


def view(size=32, scale=(0.4, 1.0), flip=0.0, motion=True):
    steps = [
        dict(type='mmpretrain.RandomResizedCrop', scale=size, crop_ratio_range=scale),
        dict(type='mmpretrain.RandomFlip', prob=flip),
    ]
    return [dict(type='orl_mm.RandomRigidMotion', angle=20)] * motion + steps


def test_polygon_template_in_a_sample(polygons):
    expected = np.zeros((2, 8, 8), np.float32)
    expected[0, :4], expected[1, :, 4:] = 1, 1
    results = RegisteredTemplate(polygons, size=8)(sample())
    assert results['parts'] == ('upper', 'right')
    assert np.array_equal(results['template'], expected)
    results = RegisteredTemplate(polygons, parts=['right'], size=8)(sample())
    assert results['parts'] == ('right',)
    assert np.array_equal(results['template'], expected[1:])
    with pytest.raises(ValueError, match="lacks.*'heart'"):
        RegisteredTemplate(polygons, parts=['heart'])


def test_average_is_cut_at_one_half_or_kept_soft(tmp_path):
    maps = np.array([[[0.2, 0.5], [0.6, 1.0]]], np.float32)
    write_template(tmp_path / 'mean.npz', Template(('heart',), maps))
    hard = RegisteredTemplate(str(tmp_path / 'mean.npz'))(sample())['template']
    soft = RegisteredTemplate(str(tmp_path / 'mean.npz'), threshold=None)(sample())['template']
    assert np.array_equal(hard, [[[0, 1], [1, 1]]])
    assert np.array_equal(soft, maps)


def test_a_folder_of_registered_templates_is_asked_with_the_image(tmp_path, monkeypatch):
    """The cache gets `check` and the pixels, by which it notices a changed image."""
    asked = []

    class Cache:
        parts = ('upper', 'right')

        def __init__(self, *options):
            asked.append(options)

        def read(self, path, img):
            asked.append((path, img))
            return np.stack([np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8)])

    monkeypatch.setattr('orl_mm.datasets.transforms.registered_template.TemplateCache', Cache)
    results = dict(sample(), img_path='moved/a.png')
    template = RegisteredTemplate(str(tmp_path), root='moved', parts=['right'], check='size')
    out = template(dict(results))
    assert asked[0] == (str(tmp_path), 'moved', 'size')
    assert asked[1][0] == 'moved/a.png'
    assert asked[1][1] is results['img']
    assert out['parts'] == ('right',)
    assert out['template'].dtype == np.float32
    assert np.array_equal(out['template'], np.eye(4)[None])
    RegisteredTemplate(str(tmp_path))
    assert asked[2] == (str(tmp_path), None, 'pixels')


def test_template_goes_through_the_geometry_of_its_view(monkeypatch):
    """A small disc of the template is where motion and crop move its center."""
    height, width, grid, side = 240, 200, 32, 64
    motions, views = [], []
    for cls, drawn in ((RigidMotion, motions), (ViewGeometry, views)):

        def record(cls, *args, plain=cls.sample.__func__, drawn=drawn, **kwargs):
            drawn.append(plain(cls, *args, **kwargs))
            return drawn[-1]

        monkeypatch.setattr(cls, 'sample', classmethod(record))
    transform = MultiViewWithGeometry([view(side, (0.7, 1.0), flip=0.5)], [40], template_size=grid)
    ys, xs = np.mgrid[:height, :width] + 0.5
    point = np.array([110.0, 100.0])
    disc = (((xs - point[0]) ** 2 + (ys - point[1]) ** 2) < 144).astype(np.float32)
    results = sample(height, width)
    results['img'][:] = (disc[..., None] * 255).astype(np.uint8)
    np.random.seed(3)
    results = transform(dict(results, template=disc[None], parts=('disc',)))
    assert results['template'].shape == (40, 1, grid, grid)
    flipped = 0
    templates = results['template'][:, 0].numpy()
    for k, img, motion, where in zip(templates, results['img'], motions, views, strict=True):
        there = where.apply_points(motion.apply_points([point]), side)[0]
        flipped += where.flip
        for found, scale in ((k, side / grid), (img[..., 0] / 255.0, 1)):
            yy, xx = np.mgrid[: found.shape[0], : found.shape[1]] + 0.5
            mass = np.array([(xx * found).sum(), (yy * found).sum()]) / found.sum()
            assert np.allclose(mass * scale, there, atol=0.6), (motion, where)
    assert 8 < flipped < 32
    recorded = results['motions'][7].double()
    assert torch.allclose(recorded, torch.from_numpy(motions[7].matrix()), atol=1e-4)


def test_a_mirrored_part_keeps_its_name(polygons):
    """In a mirrored view the half named `right` is on the left, in the same channel."""
    results = RegisteredTemplate(polygons, size=8)(sample())
    transform = MultiViewWithGeometry(
        [view(32, (1.0, 1.0), flip=1.0, motion=False)], [1], template_size=4
    )
    out = transform(dict(results, img=results['img'][:, :120]))
    assert out['parts'] == ('upper', 'right')
    assert out['template'][0, 1, :, :2].all()
    assert not out['template'][0, 1, :, 2:].any()


def test_only_the_global_views_have_a_template(polygons):
    results = RegisteredTemplate(polygons)(sample())
    transform = MultiViewWithGeometry([view(32), view(32), view(16)], [1, 1, 3], template_size=4)
    out = transform(results)
    assert len(out['img']) == 5
    assert out['template'].shape == (2, 2, 4, 4)
    assert out['template'].dtype == torch.float32
    assert 0 <= out['template'].min() <= out['template'].max() <= 1


def test_without_motion_the_draws_are_as_they_were():
    """A pipeline without motion draws the same views whether or not there is a template."""
    transform = MultiViewWithGeometry([view(16, motion=False)], [2])
    np.random.seed(5)
    plain = transform(sample())
    np.random.seed(5)
    guided = transform(dict(sample(), template=np.ones((1, 4, 4), np.float32)))
    assert torch.equal(plain['views'], guided['views'])
    assert 'motions' not in plain
    assert np.array_equal(plain['img'][1], guided['img'][1])


def test_motion_and_regions_do_not_go_together():
    with pytest.raises(ValueError, match='GenerateSuperpixels'):
        MultiViewWithGeometry([view(16)], [1])(dict(sample(), x0=np.zeros((16, 16, 3), np.uint8)))


def test_motion_on_its_own_moves_image_and_template():
    img = np.zeros((10, 20, 3), np.uint8)
    img[:, 5:10] = 255
    template = (img[None, ..., 0] / 255).astype(np.float32)
    np.random.seed(1)
    move = RandomRigidMotion(angle=0.0, shift=0.2, shift_prob=1.0)
    out = move(dict(img=img, template=template))
    assert not np.array_equal(out['img'], img)
    assert np.abs(out['img'][..., 0] / 255.0 - out['template'][0]).max() < 0.03


def test_sharpness_against_pillow():
    """Pillow's ImageEnhance.Sharpness, except for the border, which Pillow leaves as it is."""
    from PIL import Image, ImageEnhance

    img = np.random.default_rng(0).integers(60, 190, (12, 12, 3), np.uint8)
    for factor in (0.5, 1.0, 2.0):
        ours = RandomSharpness((factor, factor), prob=1.0)(dict(img=img))['img']
        theirs = np.asarray(ImageEnhance.Sharpness(Image.fromarray(img)).enhance(factor))
        assert np.abs(ours[1:-1, 1:-1].astype(int) - theirs[1:-1, 1:-1]).max() <= 2


def test_sharpness_draws_log_uniformly():
    np.random.seed(0)
    sharpness = RandomSharpness()
    draws = [sharpness._draw() for _ in range(2000)]
    factors = np.log2([d for d in draws if d is not None])
    assert abs(len(factors) - 1000) < 80
    assert -1 <= factors.min() < -0.98
    assert 0.98 < factors.max() <= 1
    assert abs(factors.mean()) < 0.06
