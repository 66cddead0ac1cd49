"""Exemplars from files and data sets; how images are prepared for registration."""

import cv2
import numpy as np
import pytest
from PIL import Image

from orl_mm.registration.contrast import prepare, squash, to_grey
from orl_mm.registration.exemplar import Exemplar, find_exemplar, read_exemplar
from tests.test_registration.blobs import PARTS, sample


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return str(path)


@pytest.fixture
def files(tmp_path):
    """An image and its masks in the layout of the X-ray sets."""
    grey, masks, _ = sample(64)
    image = save(tmp_path / 'images' / 'first.png', grey)
    return image, {
        part: save(tmp_path / 'masks' / part / 'first.png', mask.astype(np.uint8) * 255)
        for part, mask in zip(PARTS, masks, strict=True)
    }


def test_files_and_data_set_agree(files, tmp_path):
    image, masks = files
    one = read_exemplar(image, {part: [path] for part, path in masks.items()})
    other = find_exemplar(str(tmp_path), 'first', parts=PARTS)
    assert one.parts == other.parts == PARTS
    assert one.digest == other.digest
    expected = sample(64)[1]
    assert np.array_equal(np.stack(list(one.masks.values())), expected)
    assert (expected[0] & expected[2]).any()  # the parts overlap, and stay so
    assert np.array_equal(one.squashed_masks(64), expected)


def test_a_part_in_two_files_is_their_union(files, tmp_path):
    image, masks = files
    both = read_exemplar(image, dict(all=[masks['disc'], masks['bar']])).masks['all']
    expected = sample(64)[1]
    assert np.array_equal(both, expected[0] | expected[1])


def test_digest_tells_exemplars_apart():
    grey, masks, _ = sample(64)
    make = lambda g, **m: Exemplar(g, m).digest  # noqa: E731
    a, b, _ = masks
    digests = [make(grey, a=a, b=b), make(grey, b=b, a=a), make(grey, a=b, b=a), make(grey, a=a)]
    assert len({*digests, make(255 - grey, a=a, b=b)}) == 5
    assert digests[0] == make(grey.copy(), a=a, b=b)


def test_masks_of_another_size_but_the_same_shape_fit():
    """JSRT's masks have half of its images' side."""
    grey, _, _ = sample(128)
    exemplar = Exemplar(grey, dict(disc=sample(64)[1][0]))
    assert (exemplar.squashed_masks(128)[0] != sample(128)[1][0]).mean() < 0.01


def mask_of(height, width):
    return np.ones((height, width), bool)


@pytest.mark.parametrize(
    ('masks', 'message'),
    [
        ({}, 'masks of 1 to 16 parts, got 0'),
        ({str(i): mask_of(8, 8) for i in range(17)}, 'got 17'),
        (dict(disc=np.zeros((8, 8), bool)), 'mask of disc is empty'),
        (dict(disc=mask_of(8, 9)), r'mask of disc is \(8, 9\), .* image of 8 x 8'),
        (dict(disc=np.ones((8, 8, 3), bool)), 'mask of disc is'),
    ],
)
def test_wrong_exemplars(masks, message):
    with pytest.raises(ValueError, match=message):
        Exemplar(np.zeros((8, 8), np.uint8), masks)


def test_missing_files_are_named(files, tmp_path):
    image, masks = files
    for path, parts, message in (
        (image, dict(disc=['nowhere.png']), 'disc has no mask: .*nowhere.png does not exist'),
        (image, dict(heart=[]), 'heart has no mask: file does not'),
        ('nowhere.png', dict(disc=[masks['disc']]), 'exemplar nowhere.png does not exist'),
    ):
        with pytest.raises(ValueError, match=message):
            read_exemplar(path, parts)
    with pytest.raises(ValueError, match="no image 'frist'; did you mean 'first'"):
        find_exemplar(str(tmp_path), 'frist')
    (tmp_path / 'masks' / 'disc' / 'first.png').unlink()
    with pytest.raises(ValueError, match='disc'):
        find_exemplar(str(tmp_path), 'first', parts=PARTS)


def test_grey_of_color_is_luminance_and_of_grey_itself():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(to_grey(np.repeat(grey[..., None], 3, 2)), grey)
    assert to_grey(grey) is grey
    blue = np.zeros((2, 2, 3), np.uint8)
    blue[..., 0] = 200  # BGR
    assert to_grey(blue).max() == round(0.114 * 200)
    for wrong in (grey.astype(np.float32), np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(ValueError, match='must be'):
            to_grey(wrong)


def test_squash_covers_the_whole_image():
    """The edge at a third of the width stays at a third, whatever the aspect."""
    img = np.zeros((50, 90), np.uint8)
    img[:, 30:] = 240
    small = squash(img, 48)
    assert small.shape == (48, 48)
    assert small[:, :14].max() < 30
    assert small[:, 18:].min() > 210


def test_even_contrast_by_the_formula():
    """At one pixel against direct sums with the same Gaussian window."""
    rng = np.random.default_rng(0)
    img = cv2.GaussianBlur(rng.integers(0, 256, (64, 64)).astype(np.uint8), (0, 0), 2)
    got = prepare(img, 64, 4 / 64)
    r = np.arange(-16, 17)
    w = np.exp(-(r**2) / (2 * 4.0**2))
    w = np.outer(w, w) / w.sum() ** 2
    v = img.astype(float)
    around = lambda a, y, x: (w * a[y - 16 : y + 17, x - 16 : x + 17]).sum()  # noqa: E731
    diff = np.array([[v[y, x] - around(v, y, x) for x in range(16, 48)] for y in range(16, 48)])
    at = diff[16, 16] / np.sqrt((w[:32, :32] * diff**2).sum() / w[:32, :32].sum() + 25)
    assert got[32, 32] == pytest.approx(at, abs=0.02)
    assert abs(got).max() <= 3


def test_even_contrast_forgets_exposure():
    """Another gain and offset give almost the same image."""
    grey = sample(128)[0]
    other = np.clip(grey * 0.6 + 70, 0, 255).astype(np.uint8)
    a, b = (prepare(v, 128, 1 / 16) for v in (grey, other))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99
    assert abs(a - b).mean() < 0.1 * abs(a).mean() + 0.05
    assert np.array_equal(prepare(grey, 128, 0), grey)
    assert abs(prepare(np.full((32, 32), 90, np.uint8), 32, 0.1)).max() < 1e-3
