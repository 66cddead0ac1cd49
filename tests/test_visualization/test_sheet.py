import matplotlib
import numpy as np
import pytest
from PIL import Image

from orl_mm.visualization import contact_sheet, figure_to_rgb, save_figure

RED = np.full((50, 50, 3), (200, 10, 20), np.uint8)
BLUE = np.full((50, 50, 3), (10, 20, 200), np.uint8)


def test_pictures_keep_every_pixel_and_their_order():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    sheet = figure_to_rgb(
        contact_sheet([[RED, noise]], ['a', 'b'], [['', 'text']], 'Title', 'note', cell=64)
    )
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (64, 64, 3))[:, :, 0]
    found = np.argwhere((windows == noise).all((2, 3, 4)))
    assert len(found) == 1
    row, col = found[0]
    assert (sheet[row : row + 64, col - 70 : col - 6] == RED[0, 0]).all()


def test_a_missing_picture_leaves_its_place_white():
    sheet = figure_to_rgb(contact_sheet([[RED, None], [None, BLUE]], ['a', 'b'], cell=50))
    middle = sheet[:, : sheet.shape[1] // 2], sheet[:, sheet.shape[1] // 2 :]
    assert (middle[0] == RED[0, 0]).all(2).sum() == 2500
    assert (middle[1] == RED[0, 0]).all(2).sum() == 0
    assert (middle[1] == BLUE[0, 0]).all(2).sum() == 2500


def test_other_shapes_keep_their_aspect_in_the_middle_of_their_place():
    tall = np.full((60, 30, 3), (200, 10, 20), np.uint8)
    sheet = figure_to_rgb(contact_sheet([[tall]], ['a'], cell=40))
    rows, cols = np.where((sheet == RED[0, 0]).all(2))
    assert (np.ptp(rows) + 1, np.ptp(cols) + 1) == (40, 20)
    assert len(rows) == 800
    assert cols.min() == 10 + (40 - 20) // 2


def test_legend_shows_names_in_their_colours_and_a_long_note_is_wrapped():
    plain = contact_sheet([[RED]], ['a'], cell=50)
    figure = contact_sheet(
        [[RED]],
        ['a'],
        note='many words ' * 9,
        cell=50,
        legend=[('one', (0, 255, 0)), ('two', (0, 0, 255))],
    )
    words = [t.get_text() for t in figure.texts]
    assert 'one' in words
    assert 'two' in words
    sheet = figure_to_rgb(figure)
    assert len(sheet) > len(figure_to_rgb(plain)) + 5 * 12
    for color in ((0, 255, 0), (0, 0, 255)):
        assert (sheet == color).all(2).sum() >= 64
    assert all(len(line) <= 12 for line in next(w for w in words if 'many' in w).split('\n'))


def test_save_writes_what_the_figure_shows_and_touches_no_global_backend(tmp_path):
    backend = matplotlib.rcParams['backend']
    figure = contact_sheet([[RED]], ['a'], cell=50)
    paths = save_figure(figure, tmp_path / 'new' / 'a.png', tmp_path / 'b.png')
    for path in paths:
        assert (np.asarray(Image.open(path).convert('RGB')) == figure_to_rgb(figure)).all()
    assert sorted(p.name for p in tmp_path.rglob('*.*')) == ['a.png', 'b.png']
    assert matplotlib.rcParams['backend'] == backend


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match='at least one row'):
        contact_sheet([], ['a'])
    with pytest.raises(ValueError, match='2 columns, but a row of 1'):
        contact_sheet([[RED]], ['a', 'b'])
