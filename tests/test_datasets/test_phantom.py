import numpy as np
import pytest

from orl_mm.datasets.phantom import FINDINGS, PARTS, Anatomy, body_frame, make_phantom, part_levels
from orl_mm.io.xray import looks_inverted

STRAIGHT = Anatomy(
    angle=0.0,
    scale=(1.0, 1.0),
    shift=(0.0, 0.0),
    heart=0.5,
    heart_x=0.04,
    domes=(0.22, 0.2),
    ribs=12.0,
    opacity=(0.0, 0.0, 0.0),
    exposure=(1.0, 1.0),
)


def center(mask):
    """Mean x and y of a mask as shares of its side."""
    y, x = np.nonzero(mask)
    return (x.mean() + 0.5) / mask.shape[1], (y.mean() + 0.5) / mask.shape[0]


def test_same_index_same_phantom():
    first, again = make_phantom(3, 1, 64), make_phantom(3, 1, 64)
    assert np.array_equal(first.image, again.image)
    assert first.findings == again.findings
    assert not np.array_equal(first.image, make_phantom(4, 1, 64).image)
    assert not np.array_equal(first.image, make_phantom(3, 2, 64).image)


def test_masks_do_not_depend_on_the_size():
    """The same analytic curve, sampled at other points."""
    small, large = make_phantom(5, size=64), make_phantom(5, size=256)
    for part in PARTS:
        shares = large.masks[part].reshape(64, 4, 64, 4).mean(axis=(1, 3))
        clear = (shares == 0) | (shares == 1)
        assert np.array_equal(small.masks[part][clear], shares[clear] > 0.5)
        assert clear.mean() > 0.9


def test_heart_is_its_ellipse():
    """Half axes 0.36 x ratio and 0.85 of it, by hand: area, width, height and center."""
    size = 512
    mask = part_levels(STRAIGHT, *body_frame(STRAIGHT, size))['heart'] > 0
    a, b = 0.36 * 0.5, 0.85 * 0.36 * 0.5
    assert mask.mean() == pytest.approx(np.pi * a * b, rel=0.005)
    assert np.ptp(np.nonzero(mask.any(axis=0))[0]) / size == pytest.approx(2 * a, abs=0.006)
    assert np.ptp(np.nonzero(mask.any(axis=1))[0]) / size == pytest.approx(2 * b, abs=0.006)
    assert center(mask) == pytest.approx((0.54, 0.5 + 0.21 - 0.8 * b), abs=0.002)


def test_anatomy_moves_the_masks():
    """Shift, scale and turn by hand, on the center of the heart."""
    size = 512

    def heart(**changes):
        anatomy = Anatomy(**{**vars(STRAIGHT), **changes})
        return part_levels(anatomy, *body_frame(anatomy, size))['heart'] > 0

    plain = heart()
    x, y = np.array(center(plain)) - 0.5
    assert center(heart(shift=(0.05, -0.03))) == pytest.approx((x + 0.55, y + 0.47), abs=0.002)
    wide = heart(scale=(1.2, 1.0))
    assert center(wide) == pytest.approx((0.5 + 1.2 * x, 0.5 + y), abs=0.002)
    assert wide.mean() == pytest.approx(1.2 * plain.mean(), rel=0.005)
    turned = center(heart(angle=np.pi / 2))  # clockwise as seen: right goes down
    assert turned == pytest.approx((0.5 - y, 0.5 + x), abs=0.002)


def test_anatomy_is_plausible():
    for index in range(30):
        phantom = make_phantom(index, size=128)
        left, right, heart = (center(phantom.masks[part]) for part in PARTS)
        assert left[0] > heart[0] > right[0]  # the patient's left is on the viewer's right
        assert heart[1] > max(left[1], right[1])
        shares = [phantom.masks[part].mean() for part in PARTS]
        assert min(shares) > 0.03
        assert max(shares) < 0.25
        assert np.sum(list(phantom.masks.values()), axis=0).max() == 1  # exclusive
        lungs = phantom.masks['left_lung'] | phantom.masks['right_lung']
        assert phantom.image[phantom.masks['heart']].mean() > phantom.image[lungs].mean() + 40
        assert not looks_inverted(phantom.image)
        assert looks_inverted(255 - phantom.image)


def test_edges_of_the_image_are_those_of_the_masks():
    """The steepest step along rows that cross a lung's outer wall is at the mask's edge."""
    phantom = make_phantom(1, size=256)
    image, mask = phantom.image.astype(float), phantom.masks['left_lung']
    rows = range(90, 140)
    edges = np.array([np.nonzero(mask[row])[0][-1] for row in rows])  # the last pixel inside
    crossings = [image[r, edge - 10 : edge + 12] for r, edge in zip(rows, edges, strict=True)]
    assert abs(int(np.argmax(np.diff(np.mean(crossings, axis=0)))) - 10) <= 1


def test_findings():
    drawn = [make_phantom(i, size=64).findings for i in range(60)]
    assert all(tuple(found) == FINDINGS for found in drawn)
    assert all('phantom' in name for name in FINDINGS)
    for name in FINDINGS:
        assert 0.2 < np.mean([found[name] for found in drawn]) < 0.6
    for i in range(20):  # a large heart is large in the mask
        phantom = make_phantom(i, size=128)
        heart = np.ptp(np.nonzero(phantom.masks['heart'].any(axis=0))[0])
        lungs = phantom.masks['left_lung'] | phantom.masks['right_lung']
        chest = np.ptp(np.nonzero(lungs.any(axis=0))[0])
        assert (heart / chest > 0.52) == bool(phantom.findings['phantom_large_heart'])


@pytest.mark.parametrize('size', [64, 224, 1000])
def test_every_image_says_phantom(size):
    """The corner is black with white letters in every image."""
    signs = {make_phantom(i, size=size).image[: size // 40 + 5, :34].tobytes() for i in range(3)}
    assert len(signs) == 1
    corner = np.frombuffer(signs.pop(), np.uint8)
    assert corner.max() > 200
    assert 0.05 < (corner > 100).mean() < 0.6


def test_too_small():
    with pytest.raises(ValueError, match='size=32'):
        make_phantom(0, size=32)
