import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from PIL import Image
from skimage.segmentation import slic
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from orl_mm.registry import TRANSFORMS


def build(**options):
    init_default_scope('mmpretrain')
    return TRANSFORMS.build(dict(type='orl_mm.GenerateSuperpixels', **options))


@pytest.fixture
def bgr():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (7, 6, 3), np.uint8)
    return np.array(Image.fromarray(small).resize((120, 90)))


def test_x0_and_regions(bgr):
    """Row 9 and row 10 against torchvision's resize and scikit-image's slic."""
    rgb = Image.fromarray(bgr[..., ::-1].copy())
    x0 = np.asarray(F.resize(rgb, [224, 224], InterpolationMode.BICUBIC))
    out = build().transform(dict(img=bgr))
    assert np.array_equal(out['x0'][..., ::-1], x0)
    expected = slic(x0 / 255., n_segments=100, start_label=0)
    assert out['regions'].dtype == torch.uint8
    assert np.array_equal(out['regions'].numpy(), expected)
    assert out['num_regions'] == expected.max() + 1
    assert out['img'] is bgr


def test_many_regions_are_int32(bgr):
    out = build(method='grid', num_cells=17).transform(dict(img=bgr))
    assert out['regions'].dtype == torch.int32 and out['num_regions'] == 289
    out = build(method='grid', num_cells=16).transform(dict(img=bgr))
    assert out['regions'].dtype == torch.uint8 and out['num_regions'] == 256


def test_none_adds_x0_only(bgr):
    out = build(method='none', size=32).transform(dict(img=bgr))
    assert out['x0'].shape == (32, 32, 3)
    assert 'regions' not in out and 'num_regions' not in out


def test_files(bgr, tmp_path):
    labels = np.zeros((90, 120), np.uint8)
    labels[:, 60:] = 7
    (tmp_path / 'masks' / 'a').mkdir(parents=True)
    Image.fromarray(labels).save(tmp_path / 'masks' / 'a' / 'x.png')
    transform = build(method='files', size=8, folder=str(tmp_path / 'masks'),
                      root=str(tmp_path / 'images'))
    out = transform.transform(
        dict(img=bgr, img_path=str(tmp_path / 'images' / 'a' / 'x.jpg')))
    assert out['num_regions'] == 2
    assert (out['regions'][:, :4] == 0).all()
    assert (out['regions'][:, 4:] == 1).all()
    with pytest.raises(ValueError, match='90 x 120.*8 x 8.*60 x 60'):
        transform.transform(dict(
            img=bgr[:60, :60],
            img_path=str(tmp_path / 'images' / 'a' / 'x.jpg')))
    with pytest.raises(ValueError, match='root='):
        transform.transform(dict(img=bgr, img_path='/elsewhere/x.jpg'))


def test_parameters_of_other_methods_wait(bgr):
    """One option changes the method of a config that sets slic's parameters."""
    out = build(method='grid', num_segments=50, num_cells=3).transform(
        dict(img=bgr))
    assert out['num_regions'] == 9


@pytest.mark.parametrize('options,words', [
    (dict(segments=3), 'no argument segments'),
    (dict(method='slick'), "method='slick'"),
    (dict(method='files'), 'needs folder'),
    (dict(method='none', cache='x'), 'computes nothing'),
    (dict(size=0), 'size')])
def test_wrong_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        build(**options)


def test_one_pixel_image():
    out = build(size=16).transform(dict(img=np.full((1, 1, 3), 9, np.uint8)))
    assert (out['x0'] == 9).all() and out['regions'].shape == (16, 16)
