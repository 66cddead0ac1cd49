"""The head that finds a part best, by each score, and sheets of one or several networks."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, jaccard_score

from orl_mm.evaluation.attention_scores import patch_counts
from orl_mm.visualization import figure_to_rgb
from orl_mm.visualization.attention import (
    NetworkMaps,
    best_iou,
    comparison_panel,
    describe_map,
    heads_panel,
    part_heads,
)

from .texts import texts

PARTS = ['left', 'heart']


def enlarged(maps, size):
    return maps.repeat(size // maps.shape[-2], -2).repeat(size // maps.shape[-1], -1)


@pytest.fixture
def images():
    """Two images of 8 x 8 with masks that patches of 2 x 2 do not follow; maps on 4 x 4."""
    draw = np.random.default_rng(0)
    masks = [np.zeros((2, 8, 8), np.uint8) for _ in range(2)]
    for b, mask in enumerate(masks):
        mask[0, 1:4, 5 - b :] = 1
        mask[1, 5:7, 1:6] = 1
    maps = draw.random((2, 3, 4, 4)).round(1)  # with ties
    return masks, maps


def test_best_iou_is_the_largest_over_thresholds(images):
    masks, maps = images
    found = best_iou(maps[0].reshape(3, 16), *patch_counts(masks[0], (4, 4)))
    for head in range(3):
        big = enlarged(maps[0, head], 8).ravel()
        for part in range(2):
            truth = masks[0][part].ravel()
            wanted = max(jaccard_score(truth, big >= level) for level in np.unique(big))
            assert found[head, part] == pytest.approx(wanted)
    assert np.isnan(best_iou(np.ones((1, 4)), np.zeros((1, 4), int), np.ones(4, int))).all()
    # A constant map has one threshold: everything.
    assert best_iou(np.ones((1, 4)), np.array([[1, 0, 0, 0]]), np.ones(4, int)) == 0.25


def test_heads_by_average_precision(images):
    masks, maps = images
    found = part_heads(NetworkMaps('x', maps), masks, PARTS)
    for r, part in enumerate(found):
        truth, big = [m[r].ravel() for m in masks], enlarged(maps, 8).reshape(2, 3, -1)
        table = [[average_precision_score(truth[b], head) for head in big[b]] for b in range(2)]
        assert part.head == np.mean(table, 0).argmax()
        assert not part.assigned
        np.testing.assert_allclose(part.scores, np.array(table)[:, part.head])


def test_scores_can_disagree_and_an_assigned_head_wins():
    mask = np.zeros((1, 4, 4), np.uint8)
    mask[0, :2] = 1
    one = np.array([[9.0, 2, 2, 2], [2, 2, 2, 2], [3, 1, 1, 1], [1, 1, 1, 1]])
    two = np.array([[1.0, 4, 4, 4], [4, 4, 4, 4], [3, 3, 3, 3], [3, 3, 3, 3]])
    maps = np.stack([one, two])[None]
    # Head 0 ranks one wrong patch second: AP 1/8 + 7/8 * 8/9, IoU 8/9. Head 1 finds one
    # patch last of all: AP 7/8 + 1/8 * 8/16, IoU 7/8.
    (by_ap,) = part_heads(NetworkMaps('x', maps), [mask], ['a'])
    (by_iou,) = part_heads(NetworkMaps('x', maps), [mask], ['a'], 'iou')
    assert (by_ap.head, by_iou.head) == (1, 0)
    assert by_ap.scores[0] == pytest.approx(15 / 16)
    assert by_iou.scores[0] == pytest.approx(8 / 9)
    (stored,) = part_heads(NetworkMaps('x', maps, {0: 'a', 1: 'b'}), [mask], ['a'])
    assert (stored.assigned, stored.head) == (True, 0)
    assert stored.scores[0] == pytest.approx(1 / 8 + 7 / 9)


def test_an_image_without_a_part_is_left_out(images):
    masks, maps = images
    masks[0][1] = 0
    heart = part_heads(NetworkMaps('x', maps), masks, PARTS)[1]
    assert np.isnan(heart.scores[0])
    assert heart.scores[1] > 0
    images, networks = [np.full((8, 8, 3), 99, np.uint8)] * 2, [NetworkMaps('x', maps)]
    figure = comparison_panel(images, masks, PARTS, networks, ['p', 'q'], cell=16)
    words = set(texts(figure))
    assert {'p · left', 'q · left', 'q · heart'} <= words
    assert 'p · heart' not in words
    assert len(figure.axes) == 2 * 3
    masks[1][1] = 0
    with pytest.raises(ValueError, match='no image shows heart'):
        part_heads(NetworkMaps('x', maps), masks, PARTS)


def test_the_sheet_shows_each_networks_own_head():
    """Two images of different aspect; each network lights up another corner."""
    corner = np.zeros((2, 2, 2, 2))
    corner[:, 0, 0, 0] = corner[:, 1, 1, 1] = 1
    mask = np.zeros((1, 2, 2), np.uint8)
    mask[0, 0, 0] = 1
    networks = [NetworkMaps('free', corner), NetworkMaps('guided', corner, {1: 'a'})]
    images = [np.full((40, 40, 3), 50, np.uint8), np.full((20, 40, 3), 50, np.uint8)]
    figure = comparison_panel(images, [mask] * 2, ['a'], networks, ['p', 'q'], cell=40)
    figure_to_rgb(figure)  # places the axes
    words = texts(figure)
    assert words.count('head 0: AP 1.00, 100% inside') == 2
    assert words.count('head 1: AP 0.25, 0% inside') == 2
    assert [words.count(name) for name in ('free', 'guided', 'image')] == [1, 1, 1]
    shapes = [np.round(axes.get_window_extent().size).tolist() for axes in figure.axes]
    assert shapes == [[40, 40]] * 3 + [[40, 20]] * 3


def test_shaded_by_rank_only_the_order_counts():
    grey, mask = np.full((40, 40, 3), 90, np.uint8), np.zeros((1, 2, 2), np.uint8)
    mask[0, 0, 0] = 1

    def drawn(values, by_rank):
        network = NetworkMaps('x', np.reshape(values, (1, 1, 2, 2)))
        panel = comparison_panel([grey], [mask], ['a'], [network], cell=40, by_rank=by_rank)
        return figure_to_rgb(panel)

    steep, flat, other = [0.9, 0.02, 0.01, 0.03], [0.4, 0.2, 0.1, 0.3], [0.4, 0.1, 0.2, 0.3]
    assert (drawn(steep, True) == drawn(flat, True)).mean() > 0.99  # but for the caption
    assert (drawn(steep, False) == drawn(flat, False)).mean() < 0.95
    assert (drawn(flat, True) == drawn(other, True)).mean() < 0.95


def test_part_heads_rejects(images):
    masks, maps = images
    with pytest.raises(ValueError, match="one of .*, got 'dice'"):
        part_heads(NetworkMaps('x', maps), masks, PARTS, 'dice')
    with pytest.raises(ValueError, match=r'x assigns the heads \[3\], but has 3'):
        part_heads(NetworkMaps('x', maps, {3: 'left'}), masks, PARTS)


def test_heads_panel_lists_assigned_heads_first():
    grey = np.full((1, 8, 8, 3), 100, np.uint8)
    maps = np.zeros((1, 3, 2, 2))
    maps[0, 2] = [[0.1, 0.3], [0.2, 0.0]]
    templates = np.array([[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    network = NetworkMaps('x', maps, {2: 'left_lung', 0: 'heart'})
    figure = heads_panel(grey, templates, network, ['left_lung', 'heart'], 'title')
    words = texts(figure)
    assert {'title', '17% inside, covers 0%', 'no such part', 'left lung'} <= set(words)
    names = ['image and parts', 'head 2: left lung', 'head 0: heart', 'head 1']
    assert [word for word in words if word in names] == names
    assert len(figure.axes) == 4
    assert 'image' in texts(heads_panel(grey, None, network, ['left_lung', 'heart']))


def test_describe_map():
    """A part of 4 x 4 pixels, a map of 2 x 2: half of the upper row, all of the lower left."""
    part = np.zeros((4, 4))
    part[1] = part[2:, :2] = 1
    heat = np.array([[0.1, 0.2], [0.5, 0.2]])  # mean .25
    # Inside .1/2 + .2/2 + .5 of 1.0; of the part's 8 pixels the 4 under .5 are covered.
    assert describe_map(heat, part) == '65% inside, covers 50%'
    assert describe_map(heat, np.zeros((4, 4))) == 'no such part'
    assert describe_map(np.zeros((2, 2)), part) == '0% inside, covers 0%'
