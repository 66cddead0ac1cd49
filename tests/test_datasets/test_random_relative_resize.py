"""Resizing relative to the image's own size; image and labels stay on each other."""

import numpy as np
import pytest

from orl_mm.registry import TRANSFORMS


def resize(ratio, **arrays):
    low, high = (ratio, ratio) if isinstance(ratio, float) else ratio
    transform = TRANSFORMS.build(dict(type='orl_mm.RandomRelativeResize', ratio_range=(low, high)))
    return transform(dict(arrays, img_shape=arrays['img'].shape[:2], seg_fields=['gt_seg_map']))


@pytest.mark.parametrize(
    ('ratio', 'size', 'expected'),
    [
        (0.5, (500, 375), (250, 188)),  # the thesis's example: 187.5 is rounded up
        (2.0, (500, 375), (1000, 750)),
        (1.0, (333, 500), (333, 500)),
        (0.5, (333, 500), (167, 250)),
        (1.5, (1, 3), (2, 5)),  # 1.5 and 4.5: a half goes up, not to the even side
        (0.25, (1, 8), (1, 2)),  # a side never vanishes
    ],
)
def test_sizes(ratio, size, expected):
    width, height = size
    img = np.zeros((height, width, 3), np.uint8)
    out = resize(ratio, img=img, gt_seg_map=img[..., 0])
    shape = (expected[1], expected[0])
    assert out['img'].shape[:2] == out['gt_seg_map'].shape == out['img_shape'] == shape
    assert out['scale'] == expected
    assert out['scale_factor'] == (expected[0] / width, expected[1] / height)


def test_each_image_by_its_own_size_and_draws_are_uniform():
    np.random.seed(0)
    ratios = []
    for width in (200, 1000) * 200:
        out = resize((0.5, 2.0), img=np.zeros((2, width, 3), np.uint8))
        ratios.append(out['img'].shape[1] / width)
    assert 0.495 <= min(ratios) < 0.52
    assert 1.97 < max(ratios) <= 2.0
    quarters = np.histogram(ratios, np.linspace(0.49, 2.01, 5))[0]
    assert quarters.min() > 70  # of 100 expected: three deviations are 26
    np.random.seed(0)
    again = resize((0.5, 2.0), img=np.zeros((2, 200, 3), np.uint8))
    assert again['img'].shape[1] / 200 == ratios[0]


@pytest.mark.parametrize('ratio', [0.5, 0.77, 1.31, 2.0])
def test_coordinates_map_to_pixel_centers(ratio):
    """A picture of x and y: pixel centers go to pixel centers, labels stay on their pixels."""
    height, width = 75, 100
    y, x = np.mgrid[:height, :width].astype(np.float32)
    out = resize(
        ratio, img=np.stack([x, y], -1), gt_seg_map=(x // 10 + 10 * (y // 25)).astype(np.uint8)
    )
    new_height, new_width = out['img'].shape[:2]
    expected_x = (np.arange(new_width) + 0.5) * width / new_width - 0.5
    expected_y = (np.arange(new_height) + 0.5) * height / new_height - 0.5
    inner = (slice(3, -3), slice(3, -3))
    got_x, got_y = out['img'][..., 0], out['img'][..., 1]
    assert np.abs(got_x - expected_x[None])[inner].max() < 0.02
    assert np.abs(got_y - expected_y[:, None])[inner].max() < 0.02
    # Nearest-neighbor labels may be half a new pixel off, and half an old one.
    reach = 0.5 + 0.5 / ratio
    near = (
        (np.abs((got_x + 0.5 + 5) % 10 - 5) > reach)
        & (np.abs((got_y + 0.5 + 12.5) % 25 - 12.5) > reach)
    )[inner]
    labels = out['gt_seg_map'][inner].astype(int)
    assert (labels % 10 == ((got_x[inner] + 0.5) // 10))[near].all()
    assert (labels // 10 == ((got_y[inner] + 0.5) // 25))[near].all()
    assert near.mean() > 0.5
    assert set(np.unique(out['gt_seg_map'])) <= set(range(30))  # labels are never mixed
