import numpy as np
import pytest
from skimage.color import deltaE_cie76, rgb2lab

from orl_mm.visualization.colors import as_seen_by_deuteranopes, object_colors


def _distances(colors):
    lab = rgb2lab(colors[None])[0]
    distance = deltaE_cie76(lab[:, None], lab[None])
    return distance[np.triu_indices(len(colors), 1)]


def test_the_colour_of_an_id_does_not_depend_on_their_number():
    assert (object_colors(64)[:4] == object_colors(4)).all()
    assert object_colors(0).shape == (0, 3)


def test_colours_differ_and_repeat_only_beyond_256():
    colors = object_colors(256)
    assert len(np.unique(colors, axis=0)) == 256
    assert (object_colors(300)[256:] == colors[:44]).all()


def test_sixteen_colours_are_far_apart_also_for_red_green_blind_eyes():
    colors = object_colors(16)
    assert _distances(colors).min() > 15
    assert _distances(as_seen_by_deuteranopes(colors)).min() > 8
    # An arbitrary palette of as many hues is not.
    hues = np.linspace(0, 2 * np.pi, 16, endpoint=False)[:, None]
    wheel = np.round(127 * (1 + np.cos(hues - np.array([0, 2.1, 4.2])))).astype(np.uint8)
    assert _distances(as_seen_by_deuteranopes(wheel)).min() < 8


def test_simulation_keeps_grey_and_confuses_red_with_green():
    grey = np.array([[0, 0, 0], [128, 128, 128], [255, 255, 255]], np.uint8)
    assert np.abs(as_seen_by_deuteranopes(grey).astype(int) - grey).max() <= 1
    pair = np.array([[200, 60, 40], [110, 120, 20]], np.uint8)
    assert _distances(as_seen_by_deuteranopes(pair)) < 0.5 * _distances(pair)


def test_a_negative_number_is_refused():
    with pytest.raises(ValueError, match='-1'):
        object_colors(-1)
