import numpy as np
import pytest

from orl_mm.visualization import blend_labels, draw_boundaries, draw_boxes, object_colors
from orl_mm.visualization.draw import resize_labels

GREY = np.full((40, 40, 3), 100, np.uint8)
HALVES = np.repeat([[0, 1]], 2, 0)  # left and right half, coarser than the image


def test_resize_labels_takes_the_label_under_the_centre():
    labels = np.arange(12).reshape(3, 4)
    big = resize_labels(labels, 9, 8)
    assert (big == labels.repeat(3, 0).repeat(2, 1)).all()
    assert (resize_labels(big, 3, 4) == labels).all()


def test_boundary_lies_between_the_regions_and_nowhere_else():
    drawn = draw_boundaries(GREY, HALVES, color=(255, 255, 0))
    changed = (drawn != GREY).any(2)
    assert (drawn == (255, 255, 0)).all(2)[:, 18:22].any(1).all()  # every row
    assert changed[:, 15:25].any()
    assert not changed[:, :15].any()
    assert not changed[:, 25:].any()
    assert (draw_boundaries(GREY, np.zeros((2, 2), int)) == GREY).all()


def test_blend_gives_each_id_its_colour():
    full = blend_labels(GREY, HALVES + 3, alpha=1.0, boundaries=False)
    colors = object_colors(5)
    assert (full[:, :20] == colors[3]).all()
    assert (full[:, 20:] == colors[4]).all()
    half = blend_labels(GREY, HALVES + 3, alpha=0.5, boundaries=False)
    background = 50 + 0.8 * 100
    assert np.abs(half[0, 0] - (0.5 * background + 0.5 * colors[3])).max() <= 0.5
    lined = blend_labels(GREY, HALVES, boundaries=True)
    assert (lined == 255).all(2)[:, 18:22].any(1).all()


def test_boxes_are_half_open_shares_of_the_image():
    drawn = draw_boxes(
        np.zeros((40, 80, 3), np.uint8), [(0.25, 0.25, 0.75, 1.0, 0.0)], [(0, 255, 0)], width=1
    )
    rows, cols = np.nonzero((drawn == (0, 255, 0)).all(2))
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (11, 38, 21, 58)


@pytest.mark.parametrize(
    ('image', 'labels', 'kwargs', 'message'),
    [
        (GREY[..., 0], HALVES, {}, 'H, W, 3'),
        (GREY.astype(float), HALVES, {}, 'uint8'),
        (GREY, HALVES.astype(float), {}, 'integers'),
        (GREY, HALVES - 1, {}, '-1'),
        (GREY, HALVES, dict(alpha=1.5), '1.5'),
        (GREY, HALVES, dict(colors=object_colors(1)), '1 colours'),
    ],
)
def test_what_cannot_be_drawn_is_refused(image, labels, kwargs, message):
    with pytest.raises(ValueError, match=message):
        blend_labels(image, labels, **kwargs)
