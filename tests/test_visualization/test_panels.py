"""Contact sheets of objects, views and templates, and the corners of views."""

import numpy as np
import pytest

from orl_mm.structures.rigid_motion import RigidMotion
from orl_mm.structures.view_geometry import ViewGeometry
from orl_mm.visualization import figure_to_rgb
from orl_mm.visualization.draw import blend_labels
from orl_mm.visualization.panels import (
    TemplateColumn,
    TemplateViews,
    describe_view,
    objects_panel,
    plural,
    template_views_panel,
    templates_panel,
    view_corners,
    views_panel,
)

from .texts import texts

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
OBJECTS = RNG.integers(0, 4, (2, 8, 8))
PRIORS = RNG.integers(0, 9, (2, 64, 64))
VIEWS = np.array([[[0, 0, 0.5, 1, 0], [0.5, 0, 1, 1, 1]]] * 2, np.float32)


def _holds(figure, picture):
    sheet = figure_to_rgb(figure)
    windows = np.lib.stride_tricks.sliding_window_view(sheet, picture.shape)[:, :, 0]
    return (windows == picture).all((2, 3, 4)).any()


def test_objects_panel_shows_image_prior_and_objects():
    figure = objects_panel(IMAGES, PRIORS, [('now', OBJECTS)], 'Title', cell=64)
    assert len(figure.axes) == 2 * 3
    shown = {'Title', 'image', 'prior mask', 'now', '9 superpixels', '4 objects'}
    assert shown <= set(texts(figure))
    for b in range(2):
        assert _holds(figure, IMAGES[b])
        assert _holds(figure, blend_labels(IMAGES[b], OBJECTS[b]))


def test_without_a_prior_its_column_is_gone():
    figure = objects_panel(IMAGES, None, [('a', OBJECTS), ('b', OBJECTS)], cell=64)
    assert len(figure.axes) == 2 * 3
    assert 'prior mask' not in texts(figure)


def test_views_panel_shows_the_objects_that_each_view_holds():
    halves = np.zeros((2, 8, 8), int)
    halves[:, :, 4:] = 1
    views = [IMAGES[:, :, :32], IMAGES[:, :, 32:]]
    figure = views_panel(IMAGES, VIEWS, views, halves, cell=64)
    assert len(figure.axes) == 2 * 6
    words = texts(figure)
    assert words.count('2 objects') == 2
    assert words.count('1 object visible') == 4  # each view sees one half
    assert words.count('50% of the image, mirrored') == 2


def test_views_without_images():
    figure = views_panel(None, None, [IMAGES, IMAGES, IMAGES], None, cell=64)
    assert len(figure.axes) == 2 * 3
    assert _holds(figure, IMAGES[1])


def test_plural():
    assert [plural(n, 'object') for n in (0, 1, 2)] == ['0 objects', '1 object', '2 objects']


def test_corners_mapped_forward_are_those_of_the_view():
    motion = RigidMotion(angle=8.0, dx=11.0, dy=-4.0, height=90, width=160)
    view = ViewGeometry(20, 10, 120, 70, height=90, width=160)
    corners = view_corners(view.to_tensor().numpy(), motion.matrix(), (90, 160))
    mapped = view.apply_points(motion.apply_points(corners * (160, 90)), size=32)
    np.testing.assert_allclose(mapped, [(0, 0), (32, 0), (32, 32), (0, 32)], atol=1e-4)
    still = view_corners(view.to_tensor().numpy()) * (160, 90)
    np.testing.assert_allclose(still, [(20, 10), (120, 10), (120, 70), (20, 70)], atol=1e-4)


@pytest.mark.parametrize(
    ('box', 'motion', 'words'),
    [
        ((0, 0, 1, 0.5, 0), None, '50% of the image'),
        ((0, 0, 1, 0.5, 1), None, '50% of the image, mirrored'),
        ((0, 0, 0.5, 0.5, 0), (-4.0, 0, 0), '25% of the image, turned -4°'),
        ((0, 0, 1, 1, 0), (0.0, 5, -2), '100% of the image, moved +10% -2%'),
        ((0, 0, 1, 1, 0), (7.0, 5, -2), '100% of the image, turned +7°, moved +10% -2%'),
        ((0, 0, 1, 1, 0), (0.0, 0, 0), '100% of the image'),
    ],
)
def test_describe_view(box, motion, words):
    matrix = None if motion is None else RigidMotion(*motion, 100, 50).matrix()
    assert describe_view(np.array(box, np.float64), matrix, (100, 50)) == words


def test_templates_keep_the_color_of_a_part_and_the_aspect_ratio():
    image = np.full((50, 100, 3), 120, np.uint8)
    heart, lung = np.zeros((2, 1, 2, 2))
    heart[0, 0], lung[0, 1] = 1, 1  # the upper, the lower half
    both = TemplateColumn('both', ('lung', 'heart'), [np.concatenate([lung, heart])] * 2)
    one = TemplateColumn('one', ('heart',), [heart, None])
    figure = templates_panel([image] * 2, [both, one], ['first', 'second'], 'Title', cell=100)
    shown = {'image', 'both', 'one', 'first', 'second', 'none', 'lung', 'heart'}
    assert shown <= set(texts(figure))
    sheet = figure_to_rgb(figure).astype(int)
    boxes = [axes.get_window_extent().bounds for axes in figure.axes]
    assert [(round(w), round(h)) for _, _, w, h in boxes] == [(100, 50)] * 6
    corners = [(round(len(sheet) - y - h), round(x)) for x, y, w, h in boxes]
    cells = [sheet[y : y + 50, x : x + 100] for y, x in corners]
    plain, both, one, _, _, none = cells
    assert (plain == 120).all()
    assert (none == 120).all()
    assert (both[:23] == one[:23]).all()
    assert (both[5, 5] != 120).any()
    assert (one[27:] == 120).all()
    assert (both[45, 5] != both[5, 5]).any()


def test_views_with_their_templates():
    grey = np.full((64, 64, 3), 80, np.uint8)
    template = np.zeros((2, 8, 8))
    template[0, :, 4:], template[1, 4:, :4] = 1, 1
    boxes, views = np.array([(0, 0, 1, 1, 0), (0, 0, 0.5, 0.5, 0)]), [grey, grey[:32, :32]]
    small = template[None, :, ::2, ::2]
    sample = TemplateViews(grey, template, boxes, None, (64, 64), views, small)
    figure = template_views_panel([sample], ['a', 'b'], cell=64)
    shown = {'view 1', 'view 2 (not guided)', '100% of the image', '25% of the image', 'a', 'b'}
    assert shown <= set(texts(figure))
    assert len(figure.axes) == 3
