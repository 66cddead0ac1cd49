import matplotlib
import numpy as np
import pytest
from PIL import Image

from orl_mm.visualization import contact_sheet, figure_to_rgb, save_figure

RED = np.full((50, 50, 3), (200, 10, 20), np.uint8)
BLUE = np.full((50, 50, 3), (10, 20, 200), np.uint8)


def test_pictures_keep_every_pixel_and_their_order():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    sheet = figure_to_rgb(contact_sheet([[RED, noise]], ['a', 'b'], [['', 'text']],
                                        'Title', 'note', cell=64))
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (64, 64, 3))[:, :, 0]
    found = np.argwhere((windows == noise).all((2, 3, 4)))
    assert len(found) == 1
    row, col = found[0]
    assert (sheet[row:row + 64, col - 70:col - 6] == RED[0, 0]).all()


def test_a_missing_picture_leaves_its_place_white():
    sheet = figure_to_rgb(contact_sheet([[RED, None], [None, BLUE]], ['a', 'b'], cell=50))
    middle = sheet[:, :sheet.shape[1] // 2], sheet[:, sheet.shape[1] // 2:]
    assert (middle[0] == RED[0, 0]).all(2).sum() == 2500
    assert (middle[1] == RED[0, 0]).all(2).sum() == 0
    assert (middle[1] == BLUE[0, 0]).all(2).sum() == 2500


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
