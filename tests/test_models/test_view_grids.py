"""Cells of views are carried to the image and back; who is near whom is measured there."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from orl_mm.models.baselines.pixpro import near_cells
from orl_mm.models.utils import cell_centers
from orl_mm.structures.view_geometry import ViewGeometry

SIZES = [(375, 500), (500, 333), (64, 64)]  # H, W


def draw(height, width, num, seed=0):
    """Views of one image, flipped and not."""
    np.random.seed(seed)
    return [ViewGeometry.sample(height, width) for _ in range(num)]


def stack(geometry):
    return torch.stack([g.to_tensor() for g in geometry])


@pytest.mark.parametrize('grid', [7, (3, 5)])
@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_centers_are_those_that_the_geometry_carries_back(height, width, grid):
    """The middle of each cell of the view, through the inverse of crop, resize and flip."""
    h, w = (grid, grid) if isinstance(grid, int) else grid
    geometry = draw(height, width, 12)
    assert {g.flip for g in geometry} == {False, True}
    found = cell_centers(stack(geometry), grid)
    assert found.shape == (12, h, w, 2)
    for g, centers in zip(geometry, found, strict=False):
        in_view = [[(x + 0.5) * 224 / w, (y + 0.5) * 160 / h] for y in range(h) for x in range(w)]
        expected = g.invert_points(in_view, (160, 224)) / [width, height]
        np.testing.assert_allclose(centers.reshape(-1, 2), expected, atol=1e-6)


def test_leading_axes_and_dtype_are_kept():
    views = stack(draw(40, 60, 6)).double().view(3, 2, 5)
    both = cell_centers(views, (2, 3))
    assert both.shape == (3, 2, 2, 3, 2)
    assert both.dtype == torch.float64
    torch.testing.assert_close(both[2, 1], cell_centers(views[2, 1], (2, 3)))


def test_views_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r'5 numbers.*got \(3, 4\)'):
        cell_centers(torch.rand(3, 4), 7)


def by_loops(first, second, h, w, ratio, unit):
    """Pairs nearer than ``ratio`` diagonals, cell by cell through the views' geometry."""

    def center(g, row, col):
        x, y = g.invert_points([[(col + 0.5) * 32, (row + 0.5) * 32]], (32 * h, 32 * w))[0]
        return x / unit[0], y / unit[1]

    def diagonal(g):
        return np.hypot((g.x2 - g.x1) / w / unit[0], (g.y2 - g.y1) / h / unit[1])

    near = np.zeros((h * w, h * w), bool)
    limit = ratio * max(diagonal(first), diagonal(second))
    for i in range(h * w):
        for j in range(h * w):
            a, b = center(first, i // w, i % w), center(second, j // w, j % w)
            near[i, j] = np.hypot(a[0] - b[0], a[1] - b[1]) < limit
    return near


@pytest.mark.parametrize('ratio', [0.3, 0.7, 2.0])
@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_near_cells_against_loops_through_the_geometry(height, width, ratio):
    """Distances in shares of the image; each of the four combinations of flips."""
    firsts = [replace(g, flip=k % 2 == 1) for k, g in enumerate(draw(height, width, 8))]
    seconds = [
        replace(g, flip=k // 2 % 2 == 1) for k, g in enumerate(draw(height, width, 8, seed=2))
    ]
    found = near_cells(stack(firsts), stack(seconds), (3, 4), ratio).numpy()
    for a, b, near in zip(firsts, seconds, found, strict=False):
        np.testing.assert_array_equal(near, by_loops(a, b, 3, 4, ratio, (width, height)))
    if height != width:  # pixels would give other pairs
        other = [by_loops(a, b, 3, 4, ratio, (1, 1)) for a, b in zip(firsts, seconds, strict=False)]
        assert (found != other).any()


def test_near_cells_by_hand():
    """Half cells to the right, mirrored: 0.5 cells away is near, 1.5 cells is not."""
    whole = torch.tensor([[0.0, 0, 1, 1, 0]])
    moved = torch.tensor([[0.25, 0, 1.25, 1, 0]])
    flipped = torch.tensor([[0.25, 0, 1.25, 1, 1]])
    # Centers 0.25, 0.75 and 0.5, 1.0 in one row of two; the diagonal is 1.118, 0.4 of it 0.447.
    assert near_cells(whole, moved, (1, 2), 0.4)[0].tolist() == [[True, False], [True, True]]
    assert near_cells(whole, flipped, (1, 2), 0.4)[0].tolist() == [[False, True], [True, True]]
    # The larger cells count, whichever view has them.
    small = torch.tensor([[0.0, 0, 0.1, 0.1, 0]])
    assert near_cells(small, whole, 2, 0.35).any()
    assert near_cells(whole, small, 2, 0.35).any()
    assert not near_cells(small, whole, 2, 0.2).any()


def test_distances_in_pixels_give_other_pairs():
    """Views in pixels measure in pixels; of 500 x 375 images a fifth of the pairs is another."""
    firsts, seconds = draw(375, 500, 200, seed=5), draw(375, 500, 200, seed=6)
    size = torch.tensor([500.0, 375, 500, 375, 1])
    shares = near_cells(stack(firsts), stack(seconds), 7, 0.7)
    pixels = near_cells(stack(firsts) * size, stack(seconds) * size, 7, 0.7)
    for k in range(0, 200, 40):
        expected = by_loops(firsts[k], seconds[k], 7, 7, 0.7, (1, 1))
        np.testing.assert_array_equal(pixels[k].numpy(), expected)
    assert 0.15 < (shares != pixels).sum() / shares.sum() < 0.22


def test_near_cells_refuse_views_of_other_images():
    with pytest.raises(ValueError, match=r'\(2, 5\) and \(3, 5\)'):
        near_cells(torch.rand(2, 5), torch.rand(3, 5), 7, 0.7)
    with pytest.raises(ValueError, match=r'\(2, 2, 5\)'):
        near_cells(torch.rand(2, 2, 5), torch.rand(2, 2, 5), 7, 0.7)


def test_corner_centers_as_in_the_public_code_change_fewer_than_1_pair_in_100():
    """PixPro's code lets a box end at the centers of its corner pixels, ours at their edges."""
    height, width, grid = 375, 500, 7
    firsts, seconds = draw(height, width, 200, seed=5), draw(height, width, 200, seed=6)
    found = near_cells(stack(firsts), stack(seconds), grid, 0.7).numpy()

    def centers(g):
        x1, x2 = g.x1 / (width - 1), (g.x2 - 1) / (width - 1)
        y1, y2 = g.y1 / (height - 1), (g.y2 - 1) / (height - 1)
        if g.flip:  # its flip swaps both ends
            x1, x2 = x2, x1
        steps = (np.arange(grid) + 0.5) / grid
        x, y = np.meshgrid(x1 + steps * (x2 - x1), y1 + steps * (y2 - y1))
        return np.stack([x, y], -1).reshape(-1, 2), np.hypot(x2 - x1, y2 - y1) / grid

    theirs = []
    for a, b in zip(firsts, seconds, strict=True):
        (p, one), (q, two) = centers(a), centers(b)
        theirs.append(np.linalg.norm(p[:, None] - q, axis=-1) < 0.7 * max(one, two))
    pairs = np.stack(theirs)
    assert pairs.sum() > 10000
    assert 0 < (pairs != found).sum() < 0.01 * pairs.sum()
