"""Maps and parts over images: which pixels change, and to what."""

import numpy as np
import pytest

from orl_mm.visualization import AttentionColumn, attention_panel, draw_heat
from orl_mm.visualization.attention import describe_map


@pytest.fixture
def grey():
    return np.full((8, 8, 3), 100, np.uint8)


def test_heat_is_nearest_neighbour_and_relative_to_its_maximum(grey):
    heat = np.array([[0.0, 0.1], [0.2, 0.4]])
    out = draw_heat(grey, heat).astype(int)
    blocks = out.reshape(2, 4, 2, 4, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()  # one colour for each cell
    assert (out[:4, :4] == 100).all()  # nothing where there is no attention
    assert (draw_heat(grey, heat * 7) == out).all()
    change = np.abs(blocks[:, 0, :, 0] - 100).sum(-1)
    assert change[1, 1] == change.max()
    assert change[0, 0] == 0
    assert (draw_heat(grey, np.zeros((2, 2))) == 100).all()


def test_panel_names_and_shares(grey):
    maps = np.array([[[0.1, 0.3], [0.2, 0.0]]])
    templates = np.array([[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    figure = attention_panel(
        grey[None],
        templates,
        [
            AttentionColumn('head 0: heart', maps, 0),
            AttentionColumn('head 2: none', maps, 1),
            AttentionColumn('head 1', maps),
        ],
        'title',
    )
    words = [text.get_text() for text in figure.texts]
    assert {
        'title',
        'image and parts',
        'head 0: heart',
        'head 1',
        '17% inside, covers 0%',
        'no such part',
    } <= set(words)
    assert len(figure.axes) == 4


def test_maps_in_words():
    """A part of 4 x 4 pixels, a map of 2 x 2: half of the upper row, all of the lower left."""
    part = np.zeros((4, 4))
    part[1] = part[2:, :2] = 1
    heat = np.array([[0.1, 0.2], [0.5, 0.2]])  # mean .25
    # Inside .1/2 + .2/2 + .5 of 1.0; of the part's 8 pixels the 4 under .5 are covered.
    assert describe_map(heat, part) == '65% inside, covers 50%'
    assert describe_map(heat, np.zeros((4, 4))) == 'no such part'
    assert describe_map(np.zeros((2, 2)), part) == '0% inside, covers 0%'


@pytest.mark.parametrize('bad', [-0.1, np.nan])
def test_maps_that_are_none(grey, bad):
    with pytest.raises(ValueError, match='finite and not negative'):
        draw_heat(grey, np.array([[bad, 1.0]]))
