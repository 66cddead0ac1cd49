"""Contact sheets: every pixel of the pictures, their places and their texts."""

import matplotlib
import numpy as np
import pytest
from PIL import Image

from orl_mm.visualization import Cell, contact_sheet, figure_to_rgb, save_figure
from orl_mm.visualization.draw import PART_COLORS

from .texts import texts

RED = np.full((50, 50, 3), (200, 10, 20), np.uint8)


def test_pictures_keep_every_pixel_and_their_order():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    row = [Cell(RED), Cell(noise, 'text')]
    sheet = figure_to_rgb(contact_sheet([row, row[::-1]], ['a', 'b'], 'Title', 'note', cell=64))
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (64, 64, 3))[:, :, 0]
    (row, col), (low, left) = np.argwhere((windows == noise).all((2, 3, 4)))
    assert (sheet[row : row + 64, col - 70 : col - 6] == RED[0, 0]).all()
    assert left == col - 70
    assert low > row + 64


def test_other_shapes_keep_their_aspect_in_the_middle_of_their_place():
    tall = np.full((60, 30, 3), (200, 10, 20), np.uint8)
    sheet = figure_to_rgb(contact_sheet([[Cell(tall)]], ['a'], cell=40))
    rows, cols = np.where((sheet == RED[0, 0]).all(2))
    assert (np.ptp(rows) + 1, np.ptp(cols) + 1, len(rows)) == (40, 20, 800)
    assert cols.min() == 10 + (40 - 20) // 2


def test_outlines_are_drawn_at_their_corners():
    grey = np.full((100, 200, 3), 90, np.uint8)
    quad = np.array([(0.25, 0.2), (0.75, 0.2), (0.75, 0.8), (0.25, 0.8)])
    figure = contact_sheet([[Cell(grey, '', [quad], [(0, 255, 0)])]], ['a'], cell=200)
    sheet = figure_to_rgb(figure)
    box = figure.axes[0].get_window_extent()
    top, left = round(len(sheet) - box.y1), round(box.x0)
    drawn = sheet[top : top + 100, left : left + 200].astype(int)
    lines = drawn[..., 1] > drawn[..., 0] + 100
    lines[22:40, 52:70] = False  # the number
    rows, cols = np.nonzero(lines)
    assert {round(v) for v in (rows.min(), rows.max())} <= {19, 20, 79, 80}
    assert {round(v) for v in (cols.min(), cols.max())} <= {49, 50, 149, 150}
    assert not lines[25:75, 55:145].any()
    assert '1' in texts(figure)


def test_an_outline_beyond_the_picture_stays_inside_of_it():
    grey = np.full((40, 40, 3), 90, np.uint8)
    quad = np.array([(-0.5, -0.5), (1.5, -0.5), (1.5, 1.5), (-0.5, 1.5)])
    sheet = figure_to_rgb(contact_sheet([[Cell(grey, '', [quad])]], ['a'], cell=40))
    plain = figure_to_rgb(contact_sheet([[Cell(grey)]], ['a'], cell=40))
    assert np.ptp(np.nonzero((sheet != plain).any(2)), 1).max() <= 42


def test_legend_shows_names_in_their_colors_and_a_long_note_is_wrapped():
    plain = contact_sheet([[Cell(RED)]], ['a'], cell=50)
    extras = dict(note='many words ' * 9, parts=['left_lung', 'heart'])
    figure = contact_sheet([[Cell(RED)]], ['a'], cell=50, **extras)
    words = texts(figure)
    assert {'left lung', 'heart'} <= set(words)
    sheet = figure_to_rgb(figure)
    assert len(sheet) > len(figure_to_rgb(plain)) + 5 * 12
    assert (sheet == PART_COLORS[0]).all(2).sum() >= 64
    assert all(len(line) <= 12 for line in next(w for w in words if 'many' in w).split('\n'))


def test_save_writes_what_the_figure_shows_and_changes_no_global_backend(tmp_path):
    backend = matplotlib.rcParams['backend']
    figure = contact_sheet([[Cell(RED)]], ['a'], cell=50)
    paths = save_figure(figure, tmp_path / 'new' / 'a.png', str(tmp_path / 'b.png'))
    for path in paths:
        assert (np.asarray(Image.open(path).convert('RGB')) == figure_to_rgb(figure)).all()
    assert sorted(p.name for p in tmp_path.rglob('*.*')) == ['a.png', 'b.png']
    assert matplotlib.rcParams['backend'] == backend


@pytest.mark.parametrize(
    ('rows', 'message'),
    [([], 'at least one row'), ([[Cell(RED)]], 'a row of 1 pictures for 2 columns')],
)
def test_sheet_rejects(rows, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(rows, ['a', 'b'])
