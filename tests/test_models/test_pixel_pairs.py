"""Matched cells show the same place: coordinates are carried through ViewGeometry."""

import numpy as np
import pytest
import torch

from orl_mm.models.baselines.vader import draw_pixel_pairs, match_cells, take_cells
from orl_mm.structures.view_geometry import ViewGeometry

H, W = 200, 320
APART = [ViewGeometry(0, 0, 100, 90, H, W), ViewGeometry(200, 100, 320, 200, H, W, True)]


def boxes(pairs):
    return torch.stack([torch.stack([v.to_tensor() for v in pair]) for pair in pairs])


def some_pairs(count=16, seed=0):
    np.random.seed(seed)
    return [[ViewGeometry.sample(H, W, (0.1, 0.7)) for _ in range(2)] for _ in range(count)]


def naive(first, second, size, other):
    """Cell by cell: (row, column) of view 2, None where it does not show the center, and
    whether the place is too near to an edge for fp32 to decide."""
    found = {}
    for i in range(size[0]):
        for j in range(size[1]):
            place = first.invert_points([[j + 0.5, i + 0.5]], size)
            ((x, y),) = second.apply_points(place, other)
            near = min(abs(x - round(x)), abs(y - round(y))) < 1e-3
            inside = 0 <= x < other[1] and 0 <= y < other[0]
            found[i, j] = (int(y), int(x)) if inside else None, near
    return found


@pytest.mark.parametrize('other', [(6, 9), (4, 5)])
def test_matches_are_those_of_the_geometry(other):
    size = (6, 9)
    pairs = some_pairs()
    assert len({(a.flip, b.flip) for a, b in pairs}) == 4
    cells, shown = match_cells(boxes(pairs), size, None if other == size else other)
    assert cells.shape == shown.shape == (len(pairs), 54)
    checked = 0
    for b, (first, second) in enumerate(pairs):
        for (i, j), (expected, near) in naive(first, second, size, other).items():
            if near:
                continue
            n = i * size[1] + j
            assert bool(shown[b, n]) == (expected is not None)
            if expected is not None:
                assert divmod(int(cells[b, n]), other[1]) == expected
                checked += 1
    assert checked > 100
    assert 0 < shown.float().mean() < 1
    assert cells.min() >= 0
    assert cells.max() < other[0] * other[1]


def test_drawn_pixels_show_the_same_part_of_a_picture():
    """Views of a picture whose colors are its coordinates agree where pixels are matched."""
    ramp = np.stack(
        np.broadcast_arrays(np.arange(W) * 255 / W, (np.arange(H) * 255 / H)[:, None], 0), -1
    )
    pairs = some_pairs(20, seed=3)
    cut = [
        torch.from_numpy(
            np.stack(
                [pair[v].apply_image(ramp.round().astype(np.uint8), 14, 'box') for pair in pairs]
            )
        )
        .permute(0, 3, 1, 2)
        .float()
        for v in (0, 1)
    ]
    drawn = draw_pixel_pairs(boxes(pairs), 14, 32)
    colors = [take_cells(x, cells) for x, cells in zip(cut, drawn[:2], strict=False)]
    differences = (colors[0] - colors[1]).abs()[drawn.valid]
    # A center is at most half a cell of view 2 from the center of the cell it lies in.
    half = max(max((v.x2 - v.x1) / W, (v.y2 - v.y1) / H) for _, v in pairs) * 255 / 14 / 2
    assert len(differences) > 300
    assert differences.max() <= half + 3


def test_draws_are_distinct_shown_and_uniform():
    pairs = [[ViewGeometry.whole(H, W), ViewGeometry(0, 0, 160, 100, H, W)]]  # a quarter
    views = boxes(pairs).expand(4000, -1, -1)
    generator = torch.Generator().manual_seed(0)
    drawn = draw_pixel_pairs(views, 4, 3, generator=generator)
    assert drawn.valid.all()
    assert set(drawn.first.flatten().tolist()) == {0, 1, 4, 5}
    assert all(len(set(row)) == 3 for row in drawn.first[:50].tolist())
    share = drawn.first.flatten().bincount()[[0, 1, 4, 5]] / 4000
    assert (share - 0.75).abs().max() < 0.03
    other = draw_pixel_pairs(views, 4, 3, generator=generator)
    assert not torch.equal(drawn.first, other.first)


def test_few_shared_pixels_give_few_pairs_and_none_give_none():
    quarter = [ViewGeometry.whole(H, W), ViewGeometry(0, 0, 160, 100, H, W)]
    drawn = draw_pixel_pairs(boxes([quarter, APART]), 4, 7)
    assert drawn.valid.tolist() == [[True] * 4 + [False] * 3, [False] * 7]
    assert sorted(drawn.first[0, :4].tolist()) == [0, 1, 4, 5]
    # Still legal to look up.
    assert drawn.second.min() >= 0
    assert drawn.second.max() < 16
    # A grid may be smaller than the number of pairs.
    assert draw_pixel_pairs(boxes([quarter]), 2, 32).first.shape == (1, 4)


def test_features_of_cells():
    feats = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    taken = take_cells(feats, torch.tensor([[7, 0], [19, 7]]))
    assert torch.equal(taken[0, 0], feats[0, :, 1, 2])
    assert torch.equal(taken[1, 0], feats[1, :, 3, 4])
    assert taken.shape == (2, 2, 3)


def test_boxes_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r'\(B, 2, 5\).*\(3, 1, 5\)'):
        match_cells(torch.zeros(3, 1, 5), 7)
