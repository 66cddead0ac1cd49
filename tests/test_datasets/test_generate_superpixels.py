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
    expected = slic(x0 / 255.0, n_segments=100, start_label=0)
    assert out['regions'].dtype == torch.uint8
    assert np.array_equal(out['regions'].numpy(), expected)
    assert out['num_regions'] == expected.max() + 1
    assert out['img'] is bgr


def test_many_regions_are_int32(bgr):
    out = build(method='grid', num_cells=17).transform(dict(img=bgr))
    assert out['regions'].dtype == torch.int32
    assert out['num_regions'] == 289
    out = build(method='grid', num_cells=16).transform(dict(img=bgr))
    assert out['regions'].dtype == torch.uint8
    assert out['num_regions'] == 256


def test_none_adds_x0_only(bgr):
    out = build(method='none', size=32).transform(dict(img=bgr))
    assert out['x0'].shape == (32, 32, 3)
    assert 'regions' not in out
    assert 'num_regions' not in out


def test_files(bgr, tmp_path):
    labels = np.zeros((90, 120), np.uint8)
    labels[:, 60:] = 7
    (tmp_path / 'masks' / 'a').mkdir(parents=True)
    Image.fromarray(labels).save(tmp_path / 'masks' / 'a' / 'x.png')
    transform = build(
        method='files', size=8, folder=str(tmp_path / 'masks'), root=str(tmp_path / 'images')
    )
    out = transform.transform(dict(img=bgr, img_path=str(tmp_path / 'images' / 'a' / 'x.jpg')))
    assert out['num_regions'] == 2
    assert (out['regions'][:, :4] == 0).all()
    assert (out['regions'][:, 4:] == 1).all()
    with pytest.raises(ValueError, match='90 x 120.*8 x 8.*60 x 60'):
        transform.transform(
            dict(img=bgr[:60, :60], img_path=str(tmp_path / 'images' / 'a' / 'x.jpg'))
        )
    with pytest.raises(ValueError, match='root='):
        transform.transform(dict(img=bgr, img_path='/elsewhere/x.jpg'))


def test_keep_image_false_gives_the_same_regions_alone(bgr):
    with_x0 = build(method='felzenszwalb', min_size=50).transform(dict(img=bgr))
    alone = build(method='felzenszwalb', min_size=50, keep_image=False).transform(dict(img=bgr))
    assert 'x0' in with_x0
    assert 'x0' not in alone
    assert torch.equal(alone['regions'], with_x0['regions'])
    assert alone['num_regions'] > 1
    assert set(alone) == {'img', 'regions', 'num_regions'}


@pytest.mark.parametrize(('check', 'made'), [('pixels', True), ('size', False), ('none', False)])
def test_keep_image_false_makes_x0_only_where_the_cache_compares_it(
    bgr, check, made, tmp_path, monkeypatch
):
    from concurrent.futures import ThreadPoolExecutor

    from orl_mm.io.image import decode_image
    from orl_mm.map_cache.build import BuildJob
    from orl_mm.map_cache.build import build as build_cache
    from orl_mm.structures import ViewGeometry
    from orl_mm.superpixels.cache import PriorSpec

    path = tmp_path / 'images' / 'x.png'
    path.parent.mkdir()
    Image.fromarray(bgr[..., ::-1].copy()).save(path)
    spec = PriorSpec('felzenszwalb', dict(min_size=50), 32)
    with ThreadPoolExecutor(1) as executor:
        build_cache(BuildJob(spec, str(path.parent), str(tmp_path / 'cache')), ['x.png'], executor)
    calls, plain = [], ViewGeometry.apply_image
    monkeypatch.setattr(
        ViewGeometry, 'apply_image', lambda self, *args: calls.append(1) or plain(self, *args)
    )
    image = decode_image(path.read_bytes())
    for keep in (True, False):
        calls.clear()
        out = build(
            method='felzenszwalb',
            min_size=50,
            size=32,
            cache=str(tmp_path / 'cache'),
            check=check,
            keep_image=keep,
        ).transform(dict(img=image, img_path=str(path)))
        assert ('x0' in out) == keep
        assert len(calls) == (keep or made)
        expected = spec(plain(ViewGeometry.whole(*image.shape[:2]), image, 32))
        assert np.array_equal(out['regions'].numpy(), expected)


@pytest.mark.parametrize('keep', [True, False])
def test_a_moved_view_would_not_fit_the_regions(bgr, keep):
    """Refused with x0, and with its regions alone."""
    init_default_scope('mmpretrain')
    move = dict(type='orl_mm.RandomRigidMotion')
    views = TRANSFORMS.build(
        dict(type='orl_mm.MultiViewWithGeometry', num_views=[2], transforms=[[move]], size=32)
    )
    sample = build(method='grid', size=32, keep_image=keep).transform(dict(img=bgr))
    with pytest.raises(ValueError, match='not the regions of x0'):
        views.transform(sample)


def test_parameters_of_other_methods_wait(bgr):
    """One option changes the method of a config that sets slic's parameters."""
    out = build(method='grid', num_segments=50, num_cells=3).transform(dict(img=bgr))
    assert out['num_regions'] == 9


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(segments=3), 'no argument segments'),
        (dict(method='slick'), "method='slick'"),
        (dict(method='files'), 'needs folder'),
        (dict(method='none', cache='x'), 'computes nothing'),
        (dict(method='none', keep_image=False), 'adds nothing'),
        (dict(size=0), 'size'),
    ],
)
def test_wrong_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        build(**options)


def test_one_pixel_image():
    out = build(size=16).transform(dict(img=np.full((1, 1, 3), 9, np.uint8)))
    assert (out['x0'] == 9).all()
    assert out['regions'].shape == (16, 16)
