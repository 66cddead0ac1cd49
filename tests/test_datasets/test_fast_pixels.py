"""The fast backend against Pillow, mmcv and torchvision: same draws, nearly the same pixels."""

import random
from concurrent.futures import ThreadPoolExecutor

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image, ImageFilter
from skimage import data
from torchvision.transforms import functional as F

from orl_mm.datasets.transforms import photometry
from orl_mm.datasets.transforms.generate_superpixels import SPOT_CHECKS
from orl_mm.map_cache.build import BuildJob
from orl_mm.map_cache.build import build as build_cache
from orl_mm.map_cache.entry import CacheError
from orl_mm.registry import TRANSFORMS
from orl_mm.structures.view_geometry import ViewGeometry
from orl_mm.superpixels.cache import PriorSpec

PHOTO = np.ascontiguousarray(cv2.resize(data.astronaut(), (96, 72))[..., ::-1])
NOISE = np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8)
VIEW = ViewGeometry(5, 8, 85, 70, 72, 96, flip=True)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def pillow(function):
    """An operation on a Pillow image as one on BGR pixels."""
    return lambda img, *values: np.asarray(function(Image.fromarray(img[..., ::-1]), *values))[
        ..., ::-1
    ]


def true_gaussian(img, sigma, taps):
    planes = torch.from_numpy(img.copy()).permute(2, 0, 1).double()
    return F.gaussian_blur(planes, [taps, taps], [sigma, sigma]).round().permute(1, 2, 0).numpy()


def stock_grey(img, *weights):
    options = dict(prob=1.0, keep_channels=True, channel_weights=weights)
    return TRANSFORMS.build(dict(type='RandomGrayscale', **options)).transform(dict(img=img))['img']


def resized(backend):
    return lambda img, mode, size: VIEW.apply_image(img, size, mode, backend)


FACTORS = [(f,) for f in (0.6, 0.8, 1.0, 1.2, 1.4)]
SIGMAS = (0.1, 0.4, 0.8, 1.4, 2.0)
# Operation: reference, parameters, and the largest mean and worst difference in levels, first on
# a photograph, then on noise.
TABLE = {
    'brightness': (pillow(F.adjust_brightness), FACTORS, (0, 0), (0, 0)),
    'contrast': (pillow(F.adjust_contrast), FACTORS, (0, 0), (0, 0)),
    'saturation': (pillow(F.adjust_saturation), FACTORS, (0.01, 1), (0.01, 1)),
    'hue': (pillow(F.adjust_hue), [(h,) for h in (-0.4, -0.1, 0.05, 0.1)], (0.5, 8), (1.2, 14)),
    'grayscale': (stock_grey, [(0.114, 0.587, 0.299)], (0.01, 1), (0.01, 1)),
    'solarize': (pillow(F.solarize), [(0,), (128,), (256,)], (0, 0), (0, 0)),
    'blur': (true_gaussian, [(s, 23) for s in SIGMAS], (0.02, 1), (0.02, 1)),
    'box_blur': (
        pillow(lambda img, s: img.filter(ImageFilter.GaussianBlur(s))),
        [(s,) for s in SIGMAS],
        (0.4, 3),
        (0.6, 3),
    ),
    'sharpness': (mmcv.adjust_sharpness, [(f,) for f in (0.5, 1.0, 1.5, 2.0)], (0.3, 1), (0.3, 1)),
    'resize': (
        resized('pillow'),
        [(m, s) for m in ('bilinear', 'bicubic') for s in (24, 64, 112)],
        (0.02, 2),
        (0.02, 2),
    ),
}


@pytest.mark.parametrize('name', TABLE)
def test_table_of_differences(name):
    reference, parameters, *limits = TABLE[name]
    fast = resized('fast') if name == 'resize' else photometry.FAST[name]
    for img, (mean, worst) in zip((PHOTO, NOISE), limits, strict=True):
        before = img.copy()
        differences = []
        for values in parameters:
            out = fast(img, *values)
            expected = reference(img, *values)
            assert (out.shape, out.dtype) == (expected.shape, np.uint8)
            differences.append(np.abs(out.astype(int) - expected).ravel())
        found = np.concatenate(differences)
        assert found.mean() <= mean
        assert found.max() <= worst
        assert np.array_equal(img, before)


def test_the_table_is_complete():
    assert set(TABLE) == {*photometry.FAST, 'resize'}


def test_neutral_parameters_change_nothing():
    ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, 2)
    for name in ('brightness', 'contrast', 'saturation', 'sharpness'):
        assert np.array_equal(photometry.FAST[name](NOISE, 1.0), NOISE)
    for values in ((0.6,), (1.4,)):  # grey has no saturation
        assert np.array_equal(photometry.saturation(ramp, *values), ramp)
    assert np.array_equal(photometry.grayscale(ramp, 0.114, 0.587, 0.299), ramp)
    assert np.array_equal(photometry.blur(NOISE, 0.1, 23), NOISE)


PIPELINES = {
    'r2o/r50_in1k.py': 3,
    'baselines/detcon-b_r50_in1k.py': 3,
    'baselines/pixpro_r50_in1k.py': 2,
    'baselines/vader_r50_in1k.py': 2,
    'baselines/dino_vits16_in1k.py': 2,
    'medino/vits16_chexpert_dino-cxr-aug.py': 2,
}


def views_of(config, backend, *extra):
    cfg = Config.fromfile(f'configs/{config}')
    step = cfg.train_dataloader.dataset.pipeline[PIPELINES[config]]
    assert step.backend == 'fast'
    for pipeline in step.transforms:
        pipeline.extend(extra)
    return TRANSFORMS.build(dict(step, backend=backend))


def run(transform, seed, img=PHOTO):
    np.random.seed(seed)
    random.seed(seed)
    torch.manual_seed(seed)
    out = transform.transform(dict(img=img, template=np.ones((1, 7, 7), np.float32)))
    states = np.random.get_state()[1].tobytes(), random.getstate(), torch.get_rng_state().tolist()
    return out, states, np.random.rand()


@pytest.mark.parametrize('config', PIPELINES)
def test_full_size_pipelines_draw_the_same(config):
    exact, fast = (views_of(config, backend) for backend in ('pillow', 'fast'))
    for seed in range(4):
        (old, *state), (new, *same) = run(exact, seed), run(fast, seed)
        assert state == same
        assert torch.equal(old['views'], new['views'])
        assert torch.equal(old['template'], new['template'])
        for a, b in zip(old['img'], new['img'], strict=True):
            assert a.shape == b.shape
            assert np.abs(a.astype(int) - b).mean() < 2.5
        again = run(fast, seed)[0]
        assert all(np.array_equal(a, b) for a, b in zip(new['img'], again['img'], strict=True))


def test_transforms_without_a_fast_operation_are_applied_as_they_are():
    extra = (
        dict(type='Invert', prob=0.5),
        dict(type='RandomApply', prob=0.7, transforms=[dict(type='Invert', prob=1.0)]),
        dict(type='Solarize', magnitude_range=(0, 256), magnitude_std='inf', prob=0.9),
    )
    both = [views_of('r2o/r50_in1k.py', backend, *extra) for backend in ('pillow', 'fast')]
    for seed in range(4):
        (old, *state), (new, *same) = (run(views, seed) for views in both)
        assert state == same
        for a, b in zip(old['img'], new['img'], strict=True):
            assert np.abs(a.astype(int) - b).mean() < 8  # a threshold turns 1 level into many


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('mode', ['bilinear', 'bicubic'])
def test_coordinates_through_the_fast_resize(mode, flip):
    """The image holds its own coordinates; a view must hold those of its pixels."""
    y, x = np.mgrid[:200, :240]
    img = np.stack([x, y, np.full_like(x, 7)], -1).astype(np.uint8)
    where = ViewGeometry(20, 30, 190, 160, 200, 240, flip)
    view = where.apply_image(img, (60, 80), mode, 'fast')
    rows, cols = np.mgrid[2:58, 2:78]  # at the border the filter is cut
    points = where.invert_points(np.stack([cols + 0.5, rows + 0.5], -1).reshape(-1, 2), (60, 80))
    found = view[2:58, 2:78, :2].reshape(-1, 2) + 0.5
    assert np.abs(found - points).max() <= 1
    assert np.array_equal(view[..., 2], np.full((60, 80), 7))
    grey = where.apply_image(img[..., 0], (60, 80), mode, 'fast')
    assert np.abs(grey.astype(int) - view[..., 0]).max() <= 1


def test_a_cache_serves_both_backends_and_is_still_compared(tmp_path):
    names = [f'{i}.png' for i in range(4 * SPOT_CHECKS)]
    for folder in ('images', 'cache'):
        (tmp_path / folder).mkdir()
    for name in names:
        Image.fromarray(PHOTO).save(tmp_path / 'images' / name)
    spec = PriorSpec('grid', {}, 32)
    job = BuildJob(spec, str(tmp_path / 'images'), str(tmp_path / 'cache'))
    with ThreadPoolExecutor(1) as executor:
        build_cache(job, names, executor)

    def build(backend, **options):
        options = dict(dict(method='grid', size=32, cache=str(tmp_path / 'cache')), **options)
        return TRANSFORMS.build(
            dict(type='orl_mm.GenerateSuperpixels', backend=backend, **options)
        ).transform

    sample = dict(img=PHOTO[..., ::-1].copy())
    fast, exact = build('fast'), build('pillow')
    for name in names:
        path = str(tmp_path / 'images' / name)
        a, b = fast(dict(sample, img_path=path)), exact(dict(sample, img_path=path))
        assert torch.equal(a['regions'], b['regions'])
        assert 0 < np.abs(a['x0'].astype(int) - b['x0']).max() <= 1
    # Other pixels in a file of the same size: found for one in 16 images.
    sample['img'] = sample['img'] // 2
    found = 0
    for name in names:
        try:
            fast(dict(sample, img_path=str(tmp_path / 'images' / name)))
        except CacheError:
            found += 1
    assert 1 <= found <= 12
    # Masks that are computed here are those of Pillow's x0.
    options = dict(cache=None, method='felzenszwalb', min_size=5)
    a, b = (build(backend, **options)(dict(sample)) for backend in ('fast', 'pillow'))
    assert torch.equal(a['regions'], b['regions'])


def test_recorded_results_keep_pillows_pixels():
    for config in ('r2o/r50_in1k_official.py', 'r2o/small/r2o.py', 'medino/small/dino.py'):
        pipeline = Config.fromfile(f'configs/{config}').train_dataloader.dataset.pipeline
        assert {s.backend for s in pipeline if 'backend' in s} == {'pillow'}
