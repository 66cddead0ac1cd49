"""Drawing over images: which pixels change, and to what."""

import numpy as np
import pytest
from skimage.color import deltaE_cie76, rgb2lab

from orl_mm.visualization.draw import (
    PART_COLORS,
    blend_labels,
    deuteranopia,
    draw_boundaries,
    draw_heat,
    fill_parts,
    fit_image,
    object_colors,
    outline_parts,
    resize_labels,
)

GREY = np.full((40, 40, 3), 100, np.uint8)
HALVES = np.repeat([[0, 1]], 2, 0)  # left and right half, coarser than the image


def test_resize_labels_takes_the_label_under_the_center():
    labels = np.arange(12).reshape(3, 4)
    big = resize_labels(labels, 9, 8)
    assert (big == labels.repeat(3, 0).repeat(2, 1)).all()
    assert (resize_labels(big, 3, 4) == labels).all()
    # Centers of 2 pixels over 3: at 0.75 and 2.25.
    assert resize_labels(labels[:, :3], 2, 2).tolist() == [[0, 2], [8, 10]]


@pytest.mark.parametrize(('shape', 'fitted'), [((60, 30), (40, 20)), ((9, 12), (30, 40))])
def test_fit_image_keeps_the_aspect_ratio(shape, fitted):
    assert fit_image(np.zeros((*shape, 3), np.uint8), 40).shape[:2] == fitted


def test_boundary_is_between_the_regions_and_nowhere_else():
    drawn = draw_boundaries(GREY, HALVES, color=(255, 255, 0))
    changed = (drawn != GREY).any(2)
    assert (drawn == (255, 255, 0)).all(2)[:, 18:22].any(1).all()  # every row
    assert not changed[:, np.r_[:15, 25:40]].any()
    assert (draw_boundaries(GREY, np.zeros((2, 2), int)) == GREY).all()


def test_blend_gives_each_id_its_color():
    full = blend_labels(GREY, HALVES + 3, alpha=1.0, boundaries=False)
    colors = object_colors(5)
    assert (full == np.repeat(colors[3:], 20, 0)).all()
    half = blend_labels(GREY, HALVES + 3, alpha=0.5, boundaries=False)
    assert np.abs(half[0, 0] - (0.5 * (50 + 0.8 * 100) + 0.5 * colors[3])).max() <= 0.5
    assert (blend_labels(GREY, HALVES) == 255).all(2)[:, 18:22].any(1).all()


@pytest.mark.parametrize(
    ('image', 'labels', 'kwargs', 'message'),
    [
        (GREY[..., 0], HALVES, {}, 'H, W, 3'),
        (GREY.astype(float), HALVES, {}, 'uint8'),
        (GREY, HALVES.astype(float), {}, 'integers'),
        (GREY, HALVES - 1, {}, '-1'),
        (GREY, HALVES, dict(alpha=1.5), '1.5'),
    ],
)
def test_blend_rejects(image, labels, kwargs, message):
    with pytest.raises(ValueError, match=message):
        blend_labels(image, labels, **kwargs)


def test_outline_is_at_the_border_of_half_covered_cells():
    part = np.array([[0.5, 0.4], [0.0, 0.0]])
    changed = (outline_parts(GREY, part[None]) == PART_COLORS[0]).all(-1)
    expected = np.zeros((40, 40), bool)
    expected[:20, :20] = True
    expected[1:19, 1:19] = False
    assert (changed == expected).all()
    assert (outline_parts(GREY, np.zeros((2, 2, 2))) == GREY).all()


def test_fill_is_proportional_to_the_part():
    maps = np.array([[[1.0, 0.5], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
    out = fill_parts(GREY, maps, [(200, 0, 0), (0, 0, 200)], alpha=0.5)
    # Half of (200, 0, 0) and half of grey, and so on.
    cells = np.array([[(150, 50, 50), (125, 75, 75)], [(100, 100, 100), (50, 50, 150)]])
    assert (out == cells.repeat(20, 0).repeat(20, 1)).all()


def test_overlapping_parts_mix_by_their_values():
    maps = np.array([[[0.9]], [[0.3]]])
    out = fill_parts(GREY, maps, [(200, 0, 0), (0, 200, 0)], alpha=1.0)
    mixed = np.array([150, 50, 0])  # 3 : 1
    assert (out == np.round(0.1 * 100 + 0.9 * mixed)).all()


def test_heat_is_enlarged_by_nearest_neighbor_and_relative_to_its_maximum():
    heat = np.array([[0.0, 0.1], [0.2, 0.4]])
    out = draw_heat(GREY, heat).astype(int)
    blocks = out.reshape(2, 20, 2, 20, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()  # one color for each cell
    assert (draw_heat(GREY, heat * 7) == out).all()
    change = np.abs(blocks[:, 0, :, 0] - 100).sum(-1)
    assert change[0, 0] == 0 < change[0, 1]
    assert change[1, 1] == change.max()
    assert (draw_heat(GREY, np.zeros((2, 2))) == 100).all()


@pytest.mark.parametrize('bad', [-0.1, np.nan])
def test_heat_rejects_negative_and_missing_values(bad):
    with pytest.raises(ValueError, match='finite and not negative'):
        draw_heat(GREY, np.array([[bad, 1.0]]))


def _distances(colors):
    lab = rgb2lab(colors[None])[0]
    distance = deltaE_cie76(lab[:, None], lab[None])
    return distance[np.triu_indices(len(colors), 1)]


def test_the_color_of_an_id_does_not_depend_on_their_number():
    assert (object_colors(64)[:4] == object_colors(4)).all()
    assert object_colors(0).shape == (0, 3)
    colors = object_colors(300)
    assert len(np.unique(colors[:256], axis=0)) == 256
    assert (colors[256:] == colors[:44]).all()
    with pytest.raises(ValueError, match='-1'):
        object_colors(-1)


def test_sixteen_colors_are_far_apart_also_for_red_green_blind_eyes():
    colors = object_colors(16)
    assert _distances(colors).min() > 15
    assert _distances(deuteranopia(colors)).min() > 8


def test_deuteranopia_keeps_grey_and_confuses_red_with_green():
    grey = np.array([[0, 0, 0], [128, 128, 128], [255, 255, 255]], np.uint8)
    assert np.abs(deuteranopia(grey).astype(int) - grey).max() <= 1
    pair = np.array([[200, 60, 40], [110, 120, 20]], np.uint8)
    assert _distances(deuteranopia(pair)) < 0.5 * _distances(pair)
