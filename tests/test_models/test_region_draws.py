"""Label maps in views by coordinates, majority by counting, draws by their distribution."""

import numpy as np
import pytest
import torch

from orl_mm.models.baselines.detcon import draw_regions
from orl_mm.models.utils import crop_labels
from orl_mm.structures import ViewGeometry


def boxes(height, width, count=200, seed=0):
    np.random.seed(seed)
    return [ViewGeometry.sample(height, width) for _ in range(count)]


def numbered(height, width):
    """A label map that says where each pixel is: row * width + column."""
    return torch.arange(height * width, dtype=torch.int32).view(height, width)


@pytest.mark.parametrize(
    ('height', 'width', 'size'),
    [(64, 64, 64), (90, 120, 224), (500, 375, 224), (31, 17, (7, 9)), (448, 448, 224)],
)
def test_equals_apply_labels_where_map_and_image_have_one_size(height, width, size):
    """Exactly, also where a center falls on the edge of two pixels (a box twice the view)."""
    views = boxes(height, width)
    side = size if isinstance(size, tuple) else (size, size)
    if height >= 2 * side[0] and width >= 2 * side[1]:
        views += [
            ViewGeometry(x, 0, x + 2 * side[1], 2 * side[0], height, width, flip=flip)
            for x in range(min(9, width - 2 * side[1] + 1))
            for flip in (False, True)
        ]
    labels = numbered(height, width)
    found = crop_labels(
        labels.expand(len(views), -1, -1), torch.stack([v.to_tensor() for v in views]), size
    )
    assert found.dtype == torch.int32
    assert any(v.flip for v in views)
    for view, cut in zip(views, found, strict=False):
        assert torch.equal(cut, view.apply_labels(labels, size))


def test_squashed_map_is_read_under_the_centers_of_the_view():
    """Coordinates carried back: view -> image of 90 x 120 -> map of 64 x 64."""
    height, width, side, size = 90, 120, 64, 14
    views = boxes(height, width, 100)
    found = crop_labels(
        numbered(side, side).expand(len(views), -1, -1),
        torch.stack([v.to_tensor() for v in views]),
        size,
    )
    x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    centers = np.stack([x.ravel(), y.ravel()], 1)
    for view, cut in zip(views, found, strict=False):
        place = view.invert_points(centers, size) * (side / width, side / height)
        row, col = cut.flatten().numpy() // side, cut.flatten().numpy() % side
        for pixel, where in ((col, place[:, 0]), (row, place[:, 1])):
            assert (pixel <= where + 1e-3).all()
            assert (where < pixel + 1 + 1e-3).all()


def test_whole_image_is_the_identity_and_flip_its_mirror():
    labels = numbered(6, 6)[None].to(torch.uint8)
    whole = torch.tensor([[0, 0, 1, 1, 0.0]])
    assert torch.equal(crop_labels(labels, whole, 6), labels)
    mirrored = crop_labels(labels, whole + torch.tensor([0, 0, 0, 0, 1.0]), 6)
    assert torch.equal(mirrored, labels.flip(2))
    assert mirrored.dtype == torch.uint8


def test_draws_are_uniform_over_the_regions_that_are_there():
    """Whatever their size; regions that are not there never come."""
    cells = torch.tensor([[3, 3, 3, 3, 3, 9], [4, 4, 4, 4, 4, 4], [0, 1, 2, 5, 6, 7]])
    draws, count = draw_regions(cells, 30000, torch.Generator().manual_seed(0)), 30000
    assert draws.shape == (3, count)
    for row, present in zip(draws, ([3, 9], [4], [0, 1, 2, 5, 6, 7]), strict=False):
        share = {i: (row == i).sum().item() / count for i in row.unique().tolist()}
        assert sorted(share) == present
        sigma = (1 / len(present) * (1 - 1 / len(present)) / count) ** 0.5
        for value in share.values():
            assert abs(value - 1 / len(present)) <= 5 * sigma


def test_draws_are_independent():
    """Of each other (with replacement), and of the row's neighbors."""
    cells = torch.tensor([[1, 2, 3, 4]]).expand(20000, -1)
    draws = draw_regions(cells, 2, torch.Generator().manual_seed(0))
    table = torch.zeros(4, 4).index_put_(
        (draws[:, 0] - 1, draws[:, 1] - 1), torch.ones(20000), accumulate=True
    )
    chi2 = ((table - 1250) ** 2 / 1250).sum()
    assert chi2 < 37.7  # 15 degrees of freedom, p = 0.001
    between = (draws[:-1, 0] == draws[1:, 0]).float().mean()
    assert abs(between - 0.25) < 0.02


def test_a_given_generator_is_the_only_one_used():
    cells, state = torch.arange(49).expand(4, -1), torch.get_rng_state()
    first, again = (draw_regions(cells, 16, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(1)
    assert torch.equal(draw_regions(cells, 16), first)


@pytest.mark.parametrize('count', [1, 3, 16, 49])
@pytest.mark.parametrize('share', [0.0, 1 - 2.0**-24, 1.0])
def test_draw_at_the_ends_of_the_interval(count, share, monkeypatch):
    """The largest share times any number of regions is the last of them, never beyond."""
    monkeypatch.setattr(torch, 'rand', lambda *a, **k: torch.full(a, share))
    assert draw_regions(torch.arange(count)[None], 1).item() == (count - 1 if share else 0)


def test_bad_shapes_are_named():
    labels, views = torch.zeros(2, 8, 8), torch.zeros(2, 5)
    for wrong in ((labels[0], views), (labels, views[:1]), (labels, views[:, :4])):
        with pytest.raises(ValueError, match=r'labels must be \(B, H, W\) and views \(B, 5\)'):
            crop_labels(*wrong, 4)
