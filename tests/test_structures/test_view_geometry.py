"""Geometry of views by coordinates, and against torchvision."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

from orl_mm.structures.view_geometry import ViewGeometry

VIEW = dict(x1=30, y1=10, x2=130, y2=90, height=120, width=200)


@pytest.mark.parametrize('flip', [False, True])
def test_coordinates_of_the_image_are_found_in_the_view(flip):
    """A ramp of pixel centers shows where each pixel of the view came from."""
    x = np.broadcast_to(np.arange(200) + 0.5, (120, 200))
    y = np.broadcast_to((np.arange(120) + 0.5)[:, None], (120, 200))
    img = np.stack([x, y, x], -1).round().astype(np.uint8)  # below 256
    view = ViewGeometry(**VIEW, flip=flip)
    h, w = 40, 50
    out = view.apply_image(img, (h, w), 'bilinear').astype(float)
    centers = np.stack(np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5), -1)
    origin = view.invert_points(centers.reshape(-1, 2), (h, w)).reshape(h, w, 2)
    # Rounded to 8 bits twice, and half a pixel at the border of the crop.
    assert np.abs(out[2:-2, 2:-2, :2] - origin[2:-2, 2:-2]).max() <= 1.0
    assert np.abs((out[..., :2] - origin)[2:-2, 2:-2].mean()) < 0.3


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('kind', ['numpy', 'torch'])
def test_labels_read_the_pixel_under_the_center(flip, kind):
    labels = np.arange(120 * 200).reshape(120, 200)
    view = ViewGeometry(**VIEW, flip=flip)
    given = labels if kind == 'numpy' else torch.from_numpy(labels)
    out = np.asarray(view.apply_labels(given, (33, 47)))
    for j, i in [(0, 0), (5, 46), (32, 20), (17, 3)]:
        x, y = view.invert_points([[i + 0.5, j + 0.5]], (33, 47))[0]
        assert out[j, i] == int(y) * 200 + int(x)


def test_labels_agree_with_image_nearest():
    rng = np.random.default_rng(0)
    img = rng.integers(0, 255, (64, 48)).astype(np.uint8)
    view = ViewGeometry(4, 8, 40, 60, 64, 48, flip=True)
    # 32: no center falls on a border, where Pillow's rounding decides.
    assert np.array_equal(view.apply_labels(img, 32), view.apply_image(img, 32, 'nearest'))


@pytest.mark.parametrize('flip', [False, True])
def test_points_and_boxes_there_and_back(flip):
    view = ViewGeometry(**VIEW, flip=flip)
    box = [[30.0, 10.0, 130.0, 90.0], [50.0, 20.0, 90.0, 60.0]]
    out = view.apply_boxes(box, 224)
    # The crop box itself becomes the whole view.
    assert np.allclose(out[0], [0, 0, 224, 224])
    left, right = (50 - 30) / 100 * 224, (90 - 30) / 100 * 224
    expected = (224 - right, 224 - left) if flip else (left, right)
    assert np.allclose(out[1, [0, 2]], expected)
    assert np.allclose(out[1, [1, 3]], [28.0, 140.0])
    assert np.allclose(view.invert_boxes(out, 224), box)
    points = np.random.default_rng(1).uniform(-50, 250, (20, 2))
    back = view.invert_points(view.apply_points(points, 224), 224)
    assert np.allclose(back, points)


def test_to_tensor_is_normalized():
    tensor = ViewGeometry(**VIEW, flip=True).to_tensor()
    assert tensor.dtype == torch.float32
    assert torch.allclose(tensor, torch.tensor([0.15, 10 / 120, 0.65, 0.75, 1.0]))
    whole = ViewGeometry.whole(3, 7).to_tensor()
    assert whole.tolist() == [0.0, 0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize('flip', [False, True])
def test_image_equals_torchvision(flip):
    img = np.random.default_rng(0).integers(0, 256, (120, 200, 3), np.uint8)
    view = ViewGeometry(**VIEW, flip=flip)
    expected = F.resized_crop(
        Image.fromarray(img), 10, 30, 80, 100, [224, 224], InterpolationMode.BICUBIC
    )
    expected = F.hflip(expected) if flip else expected
    out = view.apply_image(img, 224)
    assert np.array_equal(out, np.asarray(expected))
    assert out.flags.c_contiguous


def corners(view):
    return view.x1, view.y1, view.x2, view.y2


def test_sample_follows_torchvisions_draws(monkeypatch):
    """Given torchvision's own random numbers, the same box comes out."""
    img, drawn = Image.new('RGB', (160, 90)), []
    uniform, randint = torch.Tensor.uniform_, torch.randint

    def record(value):
        drawn.append(value.item())
        return value

    for seed in range(200):
        torch.manual_seed(seed)
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, 'uniform_', lambda *a: record(uniform(*a)))
            patch.setattr(torch, 'randint', lambda *a, size: record(randint(*a, size=size)))
            y, x, h, w = RandomResizedCrop.get_params(img, (0.08, 1.0), (3 / 4, 4 / 3))
        with monkeypatch.context() as patch:
            patch.setattr(np.random, 'uniform', lambda *a: drawn.pop(0))
            patch.setattr(np.random, 'randint', lambda *a: drawn.pop(0))
            assert corners(ViewGeometry.sample(90, 160)) == (x, y, x + w, y + h)
        drawn.clear()


@pytest.mark.parametrize('size', [(1000, 10), (10, 1000), (30, 40)])
def test_fallback_equals_torchvisions(size):
    width, height = size
    # A share above 1 never fits, so both fall back to the center.
    y, x, h, w = RandomResizedCrop.get_params(Image.new('RGB', size), (2.0, 3.0), (3 / 4, 4 / 3))
    view = ViewGeometry.sample(height, width, scale=(2.0, 3.0))
    assert corners(view) == (x, y, x + w, y + h)


def test_sample_statistics():
    np.random.seed(0)
    views = [ViewGeometry.sample(224, 224, flip_prob=0.5) for _ in range(2000)]
    share = np.array([(v.x2 - v.x1) * (v.y2 - v.y1) for v in views]) / 224**2
    assert share.min() > 0.07
    assert share.max() <= 1
    assert abs(np.mean([v.flip for v in views]) - 0.5) < 0.05
    assert all(ViewGeometry.sample(9, 9, flip_prob=1.0).flip for _ in range(50))


def test_one_pixel_image():
    view = ViewGeometry.sample(1, 1)
    assert corners(view) == (0, 0, 1, 1)
    out = view.apply_image(np.full((1, 1, 3), 7, np.uint8), 4)
    assert np.array_equal(out, np.full((4, 4, 3), 7))


@pytest.mark.parametrize('box', [(5, 5, 5, 9), (-1, 0, 4, 4), (0, 0, 11, 4)])
def test_box_outside_the_image(box):
    with pytest.raises(ValueError, match='lie inside'):
        ViewGeometry(*box, height=10, width=10)


def test_wrong_size_and_interpolation():
    with pytest.raises(ValueError, match='10 x 10'):
        ViewGeometry.whole(10, 10).apply_image(np.zeros((9, 10, 3), np.uint8))
    with pytest.raises(ValueError, match='interpolation'):
        ViewGeometry.whole(1, 1).apply_image(np.zeros((1, 1, 3), np.uint8), 2, 'cubic')
