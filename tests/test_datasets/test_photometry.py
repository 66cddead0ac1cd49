"""Stock color distortions as the presets use them, and our blur, against torchvision."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from PIL import Image
from scipy import stats
from torchvision.transforms import functional as F

from orl_mm.registry import TRANSFORMS


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


@pytest.fixture
def bgr():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (9, 9, 3), np.uint8)
    return np.array(Image.fromarray(small).resize((64, 48)))


def rgb_pil(bgr):
    return Image.fromarray(np.ascontiguousarray(bgr[..., ::-1]))


def to_bgr(pil):
    return np.asarray(pil)[..., ::-1]


def test_jitter_equals_torchvision_in_every_order(bgr):
    jitter = TRANSFORMS.build(
        dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
    )
    steps = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    orders, factors = [], []
    for seed in range(30):
        np.random.seed(seed)
        order, *values = jitter._rand_params()
        orders.append(tuple(order))
        factors.append(values)
        np.random.seed(seed)
        out = jitter.transform(dict(img=bgr))['img']
        pil = rgb_pil(bgr)
        for i in order:
            pil = steps[i](pil, values[i])
        difference = np.abs(out.astype(int) - to_bgr(pil).astype(int))
        assert difference.max() <= 1, (seed, order)
    assert len(set(orders)) > 15
    low, high = np.min(factors, 0), np.max(factors, 0)
    assert (low >= [0.6, 0.6, 0.8, -0.1]).all()
    assert (high <= [1.4, 1.4, 1.2, 0.1]).all()


def test_grey_has_torchvisions_weights(bgr):
    weights = dict(keep_channels=True, channel_weights=(0.114, 0.587, 0.2989))
    grey = TRANSFORMS.build(dict(type='RandomGrayscale', prob=1.0, **weights))
    out = grey.transform(dict(img=bgr))['img']
    expected = to_bgr(F.rgb_to_grayscale(rgb_pil(bgr), 3))
    assert out.shape == bgr.shape
    # mmcv truncates where Pillow rounds.
    assert np.abs(out.astype(int) - expected.astype(int)).max() <= 1


def test_solarize_equals_torchvision():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    solarize = TRANSFORMS.build(dict(type='Solarize', thr=128, prob=1.0))
    out = solarize.transform(dict(img=ramp))['img']
    assert np.array_equal(out, to_bgr(F.solarize(rgb_pil(ramp), 128)))


@pytest.mark.parametrize('sigma', [0.1, 0.4, 1.0, 2.0])
def test_blur_equals_torchvision(bgr, sigma):
    blur = TRANSFORMS.build(dict(type='orl_mm.GaussianBlur', kernel_size=23, sigma=(sigma, sigma)))
    out = blur.transform(dict(img=bgr))['img']
    tensor = torch.from_numpy(bgr.copy()).permute(2, 0, 1).double()
    expected = F.gaussian_blur(tensor, [23, 23], [sigma, sigma])
    difference = out - expected.permute(1, 2, 0).numpy()
    # 8 bits, and OpenCV's kernel has 8 bits after the point.
    assert np.abs(difference).max() < 2.5
    assert np.abs(difference).mean() < 0.6


@pytest.mark.parametrize(
    ('transform', 'transformed', 'low', 'high'),
    [
        (dict(type='orl_mm.GaussianBlur', prob=0.3), float, 0.1, 2.0),
        # 0.5 and 2 are equally strong
        (dict(type='orl_mm.RandomSharpness', prob=0.3), np.log, -np.log(2), np.log(2)),
    ],
)
def test_strengths_are_drawn_uniformly_and_as_often_as_asked(transform, transformed, low, high):
    np.random.seed(0)
    transform = TRANSFORMS.build(transform)
    drawn = [transform._draw() for _ in range(2000)]
    found = [transformed(x) for x in drawn if x is not None]
    assert abs(len(found) / 2000 - 0.3) < 0.04
    assert stats.kstest(found, stats.uniform(low, high - low).cdf).pvalue > 0.01
