"""Jigsaw crops of an image whose colors are its coordinates; where each comes from."""

import numpy as np
import pytest

from orl_mm.datasets.transforms import JigsawCrops


def coordinates(height, width):
    """(H, W, 3) uint8: column, row, 0."""
    rows, cols = np.mgrid[:height, :width]
    return np.stack([cols, rows, np.zeros_like(rows)], -1).astype(np.uint8)


def origins(image, grid, size):
    """(row, column) of each crop's first pixel, checked to be one whole square of the image."""
    found = []
    for crop in image.reshape(grid * grid, size, size, 3):
        x, y = crop[0, 0, :2].astype(int)
        expected = coordinates(256, 256)[y : y + size, x : x + size]
        assert np.array_equal(crop, expected)  # neither turned nor resized
        found.append((y, x))
    return found


# The paper's sizes; a non-square image whose cells leave a rest at the right and below.
@pytest.mark.parametrize(
    ('height', 'width', 'grid', 'size'),
    [(255, 255, 3, 64), (101, 203, 2, 40), (64, 64, 1, 64), (120, 120, 3, 40)],
)
def test_one_crop_from_each_cell_in_random_order(height, width, grid, size):
    np.random.seed(0)
    jigsaw, image = JigsawCrops(grid, size), coordinates(height, width)
    cell_h, cell_w = height // grid, width // grid
    orders, offsets = set(), []
    for _ in range(300 if height == 255 else 40):
        out = jigsaw(dict(img=image))
        assert out['img'].shape == (grid * grid * size, size, 3)
        assert out['img_shape'] == (grid * grid * size, size)
        assert out['img'].dtype == np.uint8
        places = origins(out['img'], grid, size)
        cells = [(y // cell_h, x // cell_w) for y, x in places]
        # Each cell once, and the crop's last pixel in the same cell as its first.
        assert sorted(cells) == [(i, j) for i in range(grid) for j in range(grid)]
        assert all(
            ((y + size - 1) // cell_h, (x + size - 1) // cell_w) == cell
            for (y, x), cell in zip(places, cells, strict=False)
        )
        orders.add(tuple(cells))
        offsets += [(y % cell_h, x % cell_w) for y, x in places]
    assert len(orders) > 1 or grid == 1
    if height == 255:  # uniform over 0 .. 21 in each axis, both ends drawn
        offsets = np.array(offsets)
        for axis in (0, 1):
            share = np.bincount(offsets[:, axis], minlength=22) / len(offsets)
            assert len(share) == 22
            assert abs(share - 1 / 22).max() < 0.02
        assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.06
        # Any cell may come first.
        first = np.bincount([3 * order[0][0] + order[0][1] for order in orders], minlength=9)
        assert first.min() > 10


def test_draws_follow_numpys_seed():
    image, jigsaw = coordinates(255, 255), JigsawCrops()
    outs = []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        outs.append(jigsaw(dict(img=image))['img'])
    assert np.array_equal(outs[0], outs[1])
    assert not np.array_equal(outs[0], outs[2])


def test_image_that_is_too_small():
    with pytest.raises(ValueError, match='cells of 63 x 85.*192 pixels a side.*191 x 255'):
        JigsawCrops()(dict(img=coordinates(191, 255)))
