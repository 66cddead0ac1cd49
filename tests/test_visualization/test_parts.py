"""Colours of parts: which pixels change, and to what."""

import numpy as np
import pytest

from orl_mm.visualization.parts import PART_COLORS, fill_parts, outline_parts, part_legend


@pytest.fixture
def grey():
    return np.full((8, 8, 3), 100, np.uint8)


def test_outline_is_at_the_border_of_half_covered_cells(grey):
    part = np.array([[0.5, 0.4], [0.0, 0.0]])
    out = outline_parts(grey, part[None])
    changed = (out != grey).any(-1)
    expected = np.zeros((8, 8), bool)
    expected[:4, :4] = True
    expected[1:3, 1:3] = False
    assert (changed == expected).all()
    assert (out[changed] == (255, 176, 0)).all()
    assert (outline_parts(grey, np.zeros((2, 2, 2))) == grey).all()


def test_fill_is_as_strong_as_the_part(grey):
    maps = np.array([[[1.0, 0.5], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
    out = fill_parts(grey, maps, [(200, 0, 0), (0, 0, 200)], alpha=0.5)
    assert (out[:4, :4] == (150, 50, 50)).all()  # half of (200, 0, 0), half of grey
    assert (out[:4, 4:] == (125, 75, 75)).all()
    assert (out[4:, :4] == 100).all()
    assert (out[4:, 4:] == (50, 50, 150)).all()


def test_overlapping_parts_mix_by_their_values(grey):
    maps = np.array([[[0.9]], [[0.3]]])
    out = fill_parts(grey, maps, [(200, 0, 0), (0, 200, 0)], alpha=1.0)
    mixed = np.array([150, 50, 0])  # 3 : 1
    assert (out == np.round(0.1 * 100 + 0.9 * mixed)).all()


def test_legend_names_the_colours_that_are_drawn(grey):
    (first, color), (second, _) = part_legend(['left_lung', 'heart'])
    assert (first, second) == ('left lung', 'heart')
    assert color == PART_COLORS[0]
    assert (outline_parts(grey, np.ones((1, 1, 1)))[0, 0] == color).all()
