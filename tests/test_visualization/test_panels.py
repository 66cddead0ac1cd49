import numpy as np

from orl_mm.visualization import blend_labels, figure_to_rgb, objects_panel, views_panel
from orl_mm.visualization.panels import plural

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
OBJECTS = RNG.integers(0, 4, (2, 8, 8))
PRIORS = RNG.integers(0, 9, (2, 64, 64))
VIEWS = np.array([[[0, 0, 0.5, 1, 0], [0.5, 0, 1, 1, 1]]] * 2, np.float32)


def _texts(figure):
    return [t.get_text() for t in figure.texts]


def _holds(figure, picture):
    sheet = figure_to_rgb(figure)
    windows = np.lib.stride_tricks.sliding_window_view(sheet, picture.shape)[:, :, 0]
    return (windows == picture).all((2, 3, 4)).any()


def test_objects_panel_shows_image_prior_and_objects():
    figure = objects_panel(IMAGES, PRIORS, [('now', OBJECTS)], 'Title', cell=64)
    assert len(figure.axes) == 2 * 3
    texts = _texts(figure)
    assert {'Title', 'image', 'prior mask', 'now', '9 superpixels', '4 objects'} <= set(texts)
    for b in range(2):
        assert _holds(figure, IMAGES[b])
        assert _holds(figure, blend_labels(IMAGES[b], OBJECTS[b]))


def test_without_a_prior_its_column_is_gone():
    figure = objects_panel(IMAGES, None, [('a', OBJECTS), ('b', OBJECTS)], cell=64)
    assert len(figure.axes) == 2 * 3
    assert 'prior mask' not in _texts(figure)


def test_views_panel_shows_the_objects_that_each_view_holds():
    halves = np.zeros((2, 8, 8), int)
    halves[:, :, 4:] = 1
    views = [IMAGES[:, :, :32], IMAGES[:, :, 32:]]
    figure = views_panel(IMAGES, VIEWS, views, halves, cell=64)
    assert len(figure.axes) == 2 * 6
    texts = _texts(figure)
    assert texts.count('2 objects') == 2
    assert texts.count('1 object visible') == 4  # each view sees one half
    assert texts.count('50% of the image, mirrored') == 2


def test_views_alone():
    figure = views_panel(None, None, [IMAGES, IMAGES, IMAGES], None, cell=64)
    assert len(figure.axes) == 2 * 3
    assert _holds(figure, IMAGES[1])


def test_plural():
    assert [plural(n, 'object') for n in (0, 1, 2)] == ['0 objects', '1 object', '2 objects']
