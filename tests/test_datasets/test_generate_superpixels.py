from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from PIL import Image
from skimage.segmentation import slic
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from orl_mm.io.image import decode_image
from orl_mm.map_cache.build import BuildJob
from orl_mm.map_cache.build import build as build_cache
from orl_mm.registry import TRANSFORMS
from orl_mm.structures import ViewGeometry
from orl_mm.superpixels.cache import PriorSpec


def build(**options):
    init_default_scope('mmpretrain')
    return TRANSFORMS.build(dict(type='orl_mm.GenerateSuperpixels', **options))


@pytest.fixture
def bgr():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (7, 6, 3), np.uint8)
    return np.array(Image.fromarray(small).resize((120, 90)))


def test_x0_and_regions(bgr):
    """Against torchvision's resize and scikit-image's slic."""
    rgb = Image.fromarray(bgr[..., ::-1].copy())
    x0 = np.asarray(F.resize(rgb, [224, 224], InterpolationMode.BICUBIC))
    out = build().transform(dict(img=bgr))
    assert np.array_equal(out['x0'][..., ::-1], x0)
    expected = slic(x0 / 255.0, n_segments=100, start_label=0)
    assert out['regions'].dtype == torch.uint8
    assert np.array_equal(out['regions'].numpy(), expected)
    assert out['num_regions'] == expected.max() + 1
    assert out['img'] is bgr


@pytest.mark.parametrize(('cells', 'dtype'), [(17, torch.int32), (16, torch.uint8)])
def test_many_regions_are_int32(bgr, cells, dtype):
    out = build(method='grid', num_cells=cells).transform(dict(img=bgr))
    assert (out['regions'].dtype, out['num_regions']) == (dtype, cells**2)


def test_none_adds_x0_only(bgr):
    out = build(method='none', size=32).transform(dict(img=bgr))
    assert out['x0'].shape == (32, 32, 3)
    assert set(out) == {'img', 'x0'}


def test_files(bgr, tmp_path):
    labels = np.zeros((90, 120), np.uint8)
    labels[:, 60:] = 7
    (tmp_path / 'masks' / 'a').mkdir(parents=True)
    Image.fromarray(labels).save(tmp_path / 'masks' / 'a' / 'x.png')
    folders = dict(folder=str(tmp_path / 'masks'), root=str(tmp_path / 'images'))
    transform = build(method='files', size=8, **folders)
    path = str(tmp_path / 'images' / 'a' / 'x.jpg')
    out = transform.transform(dict(img=bgr, img_path=path))
    assert out['num_regions'] == 2
    assert (out['regions'][0] == torch.tensor([0, 1]).repeat_interleave(4)).all()
    assert (out['regions'] == out['regions'][0]).all()
    with pytest.raises(ValueError, match='90 x 120.*8 x 8.*60 x 60'):
        transform.transform(dict(img=bgr[:60, :60], img_path=path))
    with pytest.raises(ValueError, match='root='):
        transform.transform(dict(img=bgr, img_path='/elsewhere/x.jpg'))


def test_keep_image_false_gives_the_same_regions(bgr):
    options = dict(method='felzenszwalb', min_size=50)
    expected = build(**options).transform(dict(img=bgr))
    out = build(keep_image=False, **options).transform(dict(img=bgr))
    assert 'x0' in expected
    assert set(out) == {'img', 'regions', 'num_regions'}
    assert torch.equal(out['regions'], expected['regions'])
    assert out['num_regions'] > 1


@pytest.mark.parametrize(('check', 'made'), [('pixels', True), ('size', False), ('none', False)])
def test_keep_image_false_makes_x0_only_where_the_cache_compares_it(
    bgr, check, made, tmp_path, monkeypatch
):
    path = tmp_path / 'images' / 'x.png'
    path.parent.mkdir()
    Image.fromarray(bgr[..., ::-1].copy()).save(path)
    spec = PriorSpec('felzenszwalb', dict(min_size=50), 32)
    with ThreadPoolExecutor(1) as executor:
        build_cache(BuildJob(spec, str(path.parent), str(tmp_path / 'cache')), ['x.png'], executor)
    calls, plain = [], ViewGeometry.apply_image
    counted = lambda self, *args: calls.append(1) or plain(self, *args)  # noqa: E731
    monkeypatch.setattr(ViewGeometry, 'apply_image', counted)
    image = decode_image(path.read_bytes())
    options = dict(method='felzenszwalb', min_size=50, size=32, cache=str(tmp_path / 'cache'))
    for keep in (True, False):
        calls.clear()
        transform = build(check=check, keep_image=keep, **options)
        out = transform.transform(dict(img=image, img_path=str(path)))
        assert ('x0' in out) == keep
        assert len(calls) == (keep or made)
        expected = spec(plain(ViewGeometry.whole(*image.shape[:2]), image, 32))
        assert np.array_equal(out['regions'].numpy(), expected)


@pytest.mark.parametrize('keep', [True, False])
def test_a_moved_view_would_not_fit_the_regions(bgr, keep):
    init_default_scope('mmpretrain')
    move = dict(type='orl_mm.RandomRigidMotion')
    views = TRANSFORMS.build(
        dict(type='orl_mm.MultiViewWithGeometry', num_views=[2], transforms=[[move]], size=32)
    )
    sample = build(method='grid', size=32, keep_image=keep).transform(dict(img=bgr))
    with pytest.raises(ValueError, match='not the regions of x0'):
        views.transform(sample)


def test_parameters_of_other_methods_are_ignored(bgr):
    """So that one option changes the method of a config that sets slic's parameters."""
    out = build(method='grid', num_segments=50, num_cells=3).transform(dict(img=bgr))
    assert out['num_regions'] == 9


def test_one_pixel_image():
    out = build(size=16).transform(dict(img=np.full((1, 1, 3), 9, np.uint8)))
    assert (out['x0'] == 9).all()
    assert out['regions'].shape == (16, 16)
