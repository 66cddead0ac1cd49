"""Regions against objects: hand values, and naive loops over pixels."""

from itertools import combinations

import numpy as np
import pytest

from orl_mm.evaluation.object_agreement import object_agreement, summarize


def by_hand(regions, masks, keep):
    """Best overlaps and the Rand index by sets of pixels and pairs of them."""
    pixels = [p for p in np.ndindex(regions.shape) if keep[p]]
    groups = {}
    for p in pixels:
        groups.setdefault(regions[p], set()).add(p)
    best, label = [], {p: -1 for p in pixels}
    found = [{p for p in pixels if mask[p]} for mask in masks]
    for object_ in found:
        best.append(max(len(object_ & g) / len(object_ | g) for g in groups.values()))
    for number in sorted(range(len(found)), key=lambda i: -len(found[i])):
        label.update(dict.fromkeys(found[number], number))

    def ari(chosen):
        pairs = list(combinations(chosen, 2))
        a = np.array([regions[p] == regions[q] for p, q in pairs])
        b = np.array([label[p] == label[q] for p, q in pairs])
        expected = a.sum() * b.sum() / len(pairs)
        return ((a & b).sum() - expected) / ((a.sum() + b.sum()) / 2 - expected)

    return best, ari(pixels), ari([p for p in pixels if label[p] >= 0])


def test_equals_sets_and_pairs_of_pixels():
    draw = np.random.default_rng(0)
    for _ in range(3):
        regions = draw.choice([3, 7, 8, 90], (5, 6))
        masks = draw.random((3, 5, 6)) < [[[0.5]], [[0.3]], [[0.2]]]
        ignore = draw.random((5, 6)) < 0.2
        got = object_agreement(regions, masks, ignore)
        best, ari, foreground = by_hand(regions, masks, ~ignore)
        assert got.best_overlap == pytest.approx(best)
        assert got.ari == pytest.approx(ari)
        assert got.foreground_ari == pytest.approx(foreground)
        assert got.num_regions == len(np.unique(regions[~ignore]))


def test_values_one_can_see():
    truth = np.zeros((1, 4, 4), bool)
    truth[0, :, :2] = True  # the left half
    halves = np.tile([5, 5, 9, 9], (4, 1))
    exact = object_agreement(halves, truth)
    assert exact.best_overlap == [1.0]
    assert exact.ari == 1.0
    assert exact.area == [0.5]
    # Cut in two, either piece is half of it; the whole image as one region is half object.
    quarters = np.repeat([[0, 0, 1, 1], [2, 2, 3, 3]], 2, 0)
    assert object_agreement(quarters, truth).best_overlap == [0.5]
    whole = object_agreement(np.zeros((4, 4), int), truth)
    assert whole.best_overlap == [0.5]
    assert whole.ari == 0.0
    # The smaller of two that overlap is seen by the Rand index.
    both = np.stack([np.ones((4, 4), bool), truth[0]])
    assert object_agreement(halves, both).ari == 1.0


def test_ignored_pixels_count_for_nothing():
    truth = np.zeros((2, 2, 4), bool)
    truth[0, :, :2], truth[1, 0, 3] = True, True
    regions = np.array([[0, 0, 1, 2], [0, 1, 1, 2]])
    ignore = np.zeros((2, 4), bool)
    ignore[1, 1] = ignore[:, 3] = True
    got = object_agreement(regions, truth, ignore)
    assert got.best_overlap == [1.0]
    assert got.num_regions == 2
    assert got.area == [3 / 5]


def test_summary_by_hand():
    one = object_agreement(np.array([[0, 1]]), np.array([[[True, False]]]))
    two = object_agreement(np.array([[0] * 99 + [0]]), np.array([[[False] * 99 + [True]]]))
    none = object_agreement(np.array([[0, 1]]), np.zeros((0, 1, 2), bool))
    assert np.isnan(none.foreground_ari)
    got = summarize([one, two, none])
    assert got['images'] == got['objects'] == 2
    assert got['best_overlap'] == pytest.approx((1 + 0.01) / 2)
    assert got['best_overlap_large'] == 1.0
    assert got['regions'] == 1.5
    assert got['ari'] == 0.5


@pytest.mark.parametrize(
    ('regions', 'objects', 'ignore'),
    [((2, 3), (1, 3, 2), None), ((2, 3), (2, 3), None), ((2, 3), (1, 2, 3), (3, 2))],
)
def test_shapes_that_do_not_agree(regions, objects, ignore):
    with pytest.raises(ValueError, match=r'must be \(H, W\), \(N, H, W\)'):
        object_agreement(
            np.zeros(regions, int),
            np.zeros(objects, bool),
            None if ignore is None else np.zeros(ignore, bool),
        )
