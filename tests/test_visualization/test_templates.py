"""Pictures of templates; where views lie is checked by carrying points forward."""

import numpy as np
import pytest

from orl_mm.structures.rigid_motion import RigidMotion
from orl_mm.structures.view_geometry import ViewGeometry
from orl_mm.visualization import figure_to_rgb
from orl_mm.visualization.templates import (
    TemplateColumn,
    TemplateViews,
    describe_view,
    draw_quads,
    template_views_panel,
    templates_panel,
    view_corners,
)


def texts(figure):
    return [t.get_text() for t in figure.texts]


def test_corners_carried_forward_are_the_view():
    """Motion, then crop: the four corners land on those of the view."""
    motion = RigidMotion(angle=8.0, dx=11.0, dy=-4.0, height=90, width=160)
    view = ViewGeometry(20, 10, 120, 70, height=90, width=160)
    corners = view_corners(view.to_tensor().numpy(), motion.matrix(), (90, 160))
    carried = view.apply_points(motion.apply_points(corners * (160, 90)), size=32)
    np.testing.assert_allclose(carried, [(0, 0), (32, 0), (32, 32), (0, 32)], atol=1e-4)
    still = view_corners(view.to_tensor().numpy(), None, (90, 160))
    np.testing.assert_allclose(
        still * (160, 90), [(20, 10), (120, 10), (120, 70), (20, 70)], atol=1e-4
    )


def test_quads_are_drawn_where_they_say():
    image = np.full((100, 200, 3), 90, np.uint8)
    out = draw_quads(image, [np.array([(0.25, 0.2), (0.75, 0.2), (0.75, 0.8), (0.25, 0.8)])])
    assert (out[50, 50] == 255).all()
    assert (out[50, 150] == 255).all()
    assert (out[20, 120] == 255).all()
    assert (out[80, 100] == 255).all()
    assert (out[50, 60:140] == 90).all()
    assert (out[50, :40] == 90).all()


@pytest.mark.parametrize(
    ('box', 'motion', 'words'),
    [
        ((0, 0, 1, 0.5, 0), None, '50% of image'),
        ((0, 0, 1, 0.5, 1), None, '50% of image, mirrored'),
        ((0, 0, 0.5, 0.5, 0), RigidMotion(-4.0, 0, 0, 100, 50), '25% of image, turned -4°'),
        ((0, 0, 1, 1, 0), RigidMotion(0.0, 5, -2, 100, 50), '100% of image, moved +10% -2%'),
        (
            (0, 0, 1, 1, 0),
            RigidMotion(7.0, 5, -2, 100, 50),
            '100% of image, turned +7°, moved +10% -2%',
        ),
        ((0, 0, 1, 1, 0), RigidMotion(0.0, 0, 0, 100, 50), '100% of image'),
    ],
)
def test_views_in_words(box, motion, words):
    matrix = None if motion is None else motion.matrix()
    assert describe_view(np.array(box, np.float64), matrix, (100, 50)) == words


def test_templates_side_by_side_keep_the_colour_of_a_part_and_the_aspect():
    image = np.full((50, 100, 3), 120, np.uint8)
    heart, lung = np.zeros((2, 1, 2, 2))
    heart[0, 0], lung[0, 1] = 1, 1  # the upper, the lower half
    figure = templates_panel(
        [image, image],
        [
            TemplateColumn('both', ('lung', 'heart'), [np.concatenate([lung, heart])] * 2),
            TemplateColumn('one', ('heart',), [heart, None]),
        ],
        ['first', 'second'],
        'Title',
        cell=100,
    )
    assert {'image', 'both', 'one', 'first', 'second', 'none', 'lung', 'heart'} <= set(
        texts(figure)
    )
    boxes = [axes.get_window_extent().bounds for axes in figure.axes]
    assert len(boxes) == 6
    assert all((w, h) == (100, 50) for _, _, w, h in np.round(boxes))
    sheet = figure_to_rgb(figure)
    cells = [
        sheet[round(sheet.shape[0] - y - h) :, round(x) :][:50, :100].astype(int)
        for x, y, w, h in boxes
    ]
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
    sample = TemplateViews(
        grey,
        template,
        np.array([(0, 0, 1, 1, 0), (0, 0, 0.5, 0.5, 0)]),
        None,
        (64, 64),
        [grey, grey[:32, :32]],
        template[None, :, ::2, ::2],
    )
    figure = template_views_panel([sample], ['a', 'b'], cell=64)
    assert {'view 1', 'view 2 (not guided)', '100% of image', '25% of image', 'a', 'b'} <= set(
        texts(figure)
    )
    assert len(figure.axes) == 3
