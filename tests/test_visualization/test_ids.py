"""Renumbering of objects by size or by overlap keeps the partition."""

import itertools

import numpy as np
import pytest

from orl_mm.visualization import match_ids, rank_by_size


def _same_partition(a, b):
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=False))
    return len(pairs) == len(np.unique(a)) == len(np.unique(b))


def test_rank_by_size_numbers_over_the_whole_batch():
    labels = np.array([[[7, 7], [7, 2]], [[2, 2], [2, 9]]])  # 7: 3, 2: 4, 9: 1
    assert rank_by_size(labels).tolist() == [[[1, 1], [1, 0]], [[0, 0], [0, 2]]]


def test_rank_by_size_keeps_the_partition():
    labels = np.random.default_rng(0).integers(0, 9, (3, 8, 8)) * 5
    ranked = rank_by_size(labels)
    assert _same_partition(labels, ranked)
    counts = np.bincount(ranked.ravel())
    assert (np.diff(counts) <= 0).all()


def test_match_undoes_a_renaming():
    reference = np.random.default_rng(1).integers(0, 6, (2, 8, 8))
    names = np.array([4, 0, 5, 1, 3, 2])
    assert (match_ids(names[reference], reference) == reference).all()


def test_match_has_the_largest_overlap_of_all_assignments():
    rng = np.random.default_rng(2)
    labels, reference = rng.integers(0, 4, (2, 6, 6)), rng.integers(0, 4, (2, 6, 6))
    best = max((np.array(p)[labels] == reference).sum() for p in itertools.permutations(range(4)))
    assert (match_ids(labels, reference) == reference).sum() == best


@pytest.mark.parametrize(('num_new', 'num_old'), [(9, 3), (3, 9)])
def test_match_with_another_number_of_objects_keeps_the_partition(num_new, num_old):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, num_new, (2, 9, 9))
    reference = rng.integers(0, num_old, (2, 9, 9)) * 2
    matched = match_ids(labels, reference)
    assert _same_partition(labels, matched)
    shared = np.intersect1d(matched, reference)
    assert len(shared) == min(num_new, num_old)


def test_match_rejects_different_shapes():
    with pytest.raises(ValueError, match='same shape'):
        match_ids(np.zeros((2, 2), int), np.zeros((2, 3), int))
