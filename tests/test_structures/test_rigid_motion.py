"""Rigid motions move images, maps and points consistently."""

import numpy as np
import pytest

from orl_mm.structures import RigidMotion, ViewGeometry


def blob(height, width, x, y, radius=6.0):
    """A smooth bump whose center of mass is the continuous point (x, y)."""
    ys, xs = np.mgrid[:height, :width] + 0.5
    return np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * (radius / 2) ** 2)).astype(np.float32)


def center(img):
    ys, xs = np.mgrid[: img.shape[0], : img.shape[1]] + 0.5
    return np.array([(xs * img).sum(), (ys * img).sum()]) / img.sum()


def test_a_quarter_turn_by_hand():
    """Counter-clockwise as seen: what was at the top goes to the left."""
    motion = RigidMotion(90.0, 0.0, 0.0, height=100, width=100)
    assert np.allclose(motion.apply_points([[50, 10], [90, 50]]), [[10, 50], [50, 10]])
    img = np.zeros((4, 4), np.uint8)
    img[0, 1] = 200
    assert np.array_equal(RigidMotion(90.0, 0, 0, 4, 4).apply_image(img, 'nearest'), np.rot90(img))


def test_shift_goes_right_and_down():
    motion = RigidMotion(0.0, 3.0, 2.0, height=20, width=30)
    assert np.allclose(motion.apply_points([[4, 5]]), [[7, 7]])
    img = np.zeros((20, 30), np.uint8)
    img[5, 4] = 9
    moved = motion.apply_image(img)
    assert moved[7, 7] == 9
    assert moved.sum() == 9


@pytest.mark.parametrize(('angle', 'dx', 'dy'), [(10, 0, 0), (-7, 9, -5), (35, -12, 8)])
def test_images_and_maps_go_where_points_go(angle, dx, dy):
    """A bump drawn at a point is at the moved point, in the image and in a coarser map."""
    height, width = 120, 160
    motion = RigidMotion(angle, dx, dy, height, width)
    for x, y in ((60, 50), (95, 66)):
        there = motion.apply_points([[x, y]])[0]
        moved = motion.apply_image(blob(height, width, x, y))
        assert np.allclose(center(moved), there, atol=0.05)
        # A map of another resolution and aspect, covering the same image.
        h, w = 64, 48
        ys, xs = np.mgrid[:h, :w] + 0.5
        coarse = np.exp(-((xs * width / w - x) ** 2 + (ys * height / h - y) ** 2) / 72.0)
        found = center(motion.apply_maps(coarse[None].astype(np.float32))[0])
        assert np.allclose(found * (width / w, height / h), there, atol=0.15)


def test_outside_is_zero():
    maps = np.ones((2, 8, 8), np.float32)
    moved = RigidMotion(0.0, 40.0, 0.0, 80, 80).apply_maps(maps)
    assert (moved[:, :, :4] == 0).all()
    assert np.allclose(moved[:, :, 4:], 1)


def test_motion_then_crop():
    """A view of a moved image, and the template's cells, show the bump at the mapped point."""
    height, width, grid = 200, 160, 20
    motion = RigidMotion(8.0, 10.0, -6.0, height, width)
    view = ViewGeometry(20, 30, 140, 180, height, width, flip=True)
    x, y = 90.0, 100.0
    there = view.apply_points(motion.apply_points([[x, y]]), 240)[0]
    img = motion.apply_image((255 * blob(height, width, x, y, 10)).astype(np.uint8))
    assert np.allclose(center(view.apply_image(img, 240).astype(float)), there, atol=0.6)
    maps = motion.apply_maps(blob(height, width, x, y, 10)[None])
    cells = view.apply_maps(maps, grid)[0]
    assert np.allclose(center(cells) * 240 / grid, there, atol=0.3)


def test_draws_cover_their_ranges():
    np.random.seed(0)
    drawn = [RigidMotion.sample(100, 200, 10.0, 0.5, 0.1, 0.5) for _ in range(2000)]
    turned = np.array([m.angle for m in drawn if m.angle])
    shifted = np.array([(m.dx, m.dy) for m in drawn if m.dx])
    assert (len(turned), len(shifted)) == pytest.approx((1000, 1000), abs=80)
    assert -10 <= turned.min() < -9.8
    assert 9.8 < turned.max() <= 10
    assert (abs(shifted).max(0) <= (20, 10)).all()
    assert (abs(shifted).max(0) > (19.6, 9.8)).all()
    assert 200 < sum(m.is_identity for m in drawn) < 800


def test_wrong_size_and_interpolation():
    with pytest.raises(ValueError, match='100 x 200'):
        RigidMotion(1.0, 0, 0, 100, 200).apply_image(np.zeros((200, 100), np.uint8))
    with pytest.raises(ValueError, match="'cubic'"):
        RigidMotion(1.0, 0, 0, 4, 4).apply_image(np.zeros((4, 4), np.uint8), 'cubic')


@pytest.mark.parametrize(('box', 'flip'), [((0, 0, 12, 8), False), ((3, 1, 10, 7), True)])
def test_average_of_maps_against_fine_pixels(box, flip):
    """Exact shares: the same as averaging a map in which each pixel is repeated often."""
    rng = np.random.default_rng(0)
    maps = rng.random((2, 4, 6), np.float32)  # half the image's resolution
    view = ViewGeometry(*box, height=8, width=12, flip=flip)
    size = (3, 5)
    # Each cell of the map is 60 x 60 fine pixels, so every edge falls between two.
    fine = maps.repeat(60, 1).repeat(60, 2)[:, box[1] * 30 : box[3] * 30, box[0] * 30 : box[2] * 30]
    expected = fine.reshape(2, size[0], -1, size[1], fine.shape[2] // size[1]).mean((2, 4))
    expected = expected[..., ::-1] if flip else expected
    assert np.allclose(view.apply_maps(maps, size), expected, atol=1e-6)
