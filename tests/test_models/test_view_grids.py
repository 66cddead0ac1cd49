"""Cells of views are carried to the image and back; who is near whom is measured there."""

import numpy as np
import pytest
import torch

from orl_mm.models.utils.view_grids import cell_centers
from orl_mm.structures.view_geometry import ViewGeometry

SIZES = [(375, 500), (500, 333), (64, 64)]  # H, W


def draw(height, width, num, seed=0):
    """Views of one image, flipped and not."""
    np.random.seed(seed)
    return [ViewGeometry.sample(height, width) for _ in range(num)]


def stack(geometry):
    return torch.stack([g.to_tensor() for g in geometry])


@pytest.mark.parametrize('grid', [7, (3, 5)])
@pytest.mark.parametrize('height, width', SIZES)
def test_centres_are_those_that_the_geometry_carries_back(height, width, grid):
    """The middle of each cell of the view, through the inverse of crop, resize and flip."""
    h, w = (grid, grid) if isinstance(grid, int) else grid
    geometry = draw(height, width, 12)
    assert {g.flip for g in geometry} == {False, True}
    found = cell_centers(stack(geometry), grid)
    assert found.shape == (12, h, w, 2)
    for g, centres in zip(geometry, found):
        in_view = [[(x + .5) * 224 / w, (y + .5) * 160 / h] for y in range(h) for x in range(w)]
        expected = g.invert_points(in_view, (160, 224)) / [width, height]
        np.testing.assert_allclose(centres.reshape(-1, 2), expected, atol=1e-6)


def test_a_view_shows_the_pixel_under_the_centre():
    """An image whose pixels say where they are, cut and resized to the grid itself."""
    for height, width in SIZES:
        where = np.arange(height * width).reshape(height, width)
        for g in draw(height, width, 6, seed=1):
            shown = g.apply_labels(where, (5, 7))
            x, y = (cell_centers(g.to_tensor(), (5, 7)).double().numpy()
                    * [width, height]).transpose(2, 0, 1)
            # fp32 may fall to the other side of an edge between two pixels.
            assert np.abs(shown // width + .5 - y).max() <= .5 + 1e-3
            assert np.abs(shown % width + .5 - x).max() <= .5 + 1e-3


def test_leading_axes_and_dtype_are_kept():
    views = stack(draw(40, 60, 6)).double().view(3, 2, 5)
    both = cell_centers(views, (2, 3))
    assert both.shape == (3, 2, 2, 3, 2) and both.dtype == torch.float64
    torch.testing.assert_close(both[2, 1], cell_centers(views[2, 1], (2, 3)))


def test_views_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r'5 numbers.*got \(3, 4\)'):
        cell_centers(torch.rand(3, 4), 7)
