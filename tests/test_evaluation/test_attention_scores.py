"""Scores from counts per patch equal scikit-learn's on every pixel."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score

from orl_mm.evaluation.attention_scores import (
    average_precision,
    choose_head,
    coverage,
    on_grid,
    patch_counts,
)


def enlarged(scores, size):
    """(A, H, W): by torch's nearest neighbor."""
    return F.interpolate(torch.as_tensor(scores)[None], size=size, mode='nearest')[0].numpy()


def on_pixels(scores, masks):
    """(A, R): scikit-learn on all pixels of the enlarged maps."""
    maps = enlarged(scores, masks.shape[1:])
    return np.array(
        [[average_precision_score(mask.ravel(), row.ravel()) for mask in masks] for row in maps]
    )


def ours(scores, masks):
    positives, pixels = patch_counts(masks, scores.shape[1:])
    return average_precision(scores.reshape(len(scores), -1), positives, pixels)


@pytest.mark.parametrize('size', [(56, 56), (57, 61), (100, 43), (14, 14), (9, 30)])
@pytest.mark.parametrize('levels', [None, 5, 1])
def test_equals_scikit_learn_on_the_full_resolution(size, levels):
    """Sizes that the grid divides and not, more patches than pixels; distinct, tied, constant."""
    draw = np.random.default_rng(0)
    masks = draw.random((3, *size)) < [[[0.1]], [[0.5]], [[0.9]]]
    masks[0, : size[0] // 2] = True  # a part of some shape
    scores = draw.random((4, 14, 14)).astype(np.float32)
    if levels:
        scores = np.floor(scores * levels) / levels
    found = ours(scores, masks)
    np.testing.assert_allclose(found, on_pixels(scores, masks), rtol=0, atol=1e-12)
    if levels == 1:  # a constant map scores the prevalence
        np.testing.assert_allclose(found, np.tile(masks.mean((1, 2)), (4, 1)), atol=1e-12)


def test_a_value_by_hand():
    """Thresholds .9, .5 (two patches), .1: precisions 3/4, 6/12, 8/16; recalls 3/8, 6/8, 1."""
    scores = np.array([[[0.9, 0.5], [0.5, 0.1]]])
    mask = np.zeros((1, 4, 4), int)
    mask[0, :2, :2] = [[1, 1], [1, 0]]
    mask[0, :2, 2:] = [[1, 1], [0, 0]]
    mask[0, 2:, :2] = [[1, 0], [0, 0]]
    mask[0, 2:, 2:] = [[1, 1], [0, 0]]
    expected = 3 / 8 * 3 / 4 + 3 / 8 * 6 / 12 + 2 / 8 * 8 / 16
    assert ours(scores, mask)[0, 0] == pytest.approx(expected, abs=1e-15)


def test_an_empty_part_has_no_score_and_does_not_warn():
    masks = np.zeros((2, 8, 8), bool)
    masks[1] = True
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = ours(np.random.default_rng(0).random((2, 2, 2)), masks)
        share = coverage(np.eye(4), patch_counts(masks, (2, 2))[0])
    assert np.isnan(found[:, 0]).all()
    assert (found[:, 1] == 1).all()
    assert np.isnan(share[:, 0]).all()
    assert (share[:, 1] == 0.25).all()


def test_counts_follow_the_mask_not_the_image():
    """A mark at one pixel is counted in the patch that torch enlarges over it."""
    size, grid = (31, 45), (4, 7)
    cells = enlarged(np.arange(28.0).reshape(1, *grid), size)[0].astype(int)
    for y, x in [(0, 0), (7, 6), (8, 7), (15, 44), (30, 19)]:
        mask = torch.zeros(1, *size, dtype=torch.uint8)
        mask[0, y, x] = 1
        positives, pixels = patch_counts(mask, grid)
        assert positives[0].nonzero()[0].tolist() == [cells[y, x]]
    np.testing.assert_array_equal(pixels, np.bincount(cells.ravel(), minlength=28))


@pytest.mark.parametrize('dtype', [torch.bool, torch.uint8, torch.int64])
def test_masks_of_any_integer_type(dtype):
    masks = torch.rand(2, 13, 9, generator=torch.Generator().manual_seed(0)) < 0.4
    positives, _ = patch_counts(masks.to(dtype), (3, 2))
    np.testing.assert_array_equal(positives, patch_counts(masks.numpy(), (3, 2))[0])
    assert positives.sum(1).tolist() == masks.sum((1, 2)).tolist()


@pytest.mark.parametrize(
    ('masks', 'said'),
    [
        (np.full((1, 4, 4), 255, np.uint8), '0 and 1, got 255'),
        (np.zeros((4, 4), bool), 'must be .parts, H, W.'),
        (np.zeros((1, 0, 4), bool), 'must be .parts, H, W.'),
        (np.zeros((1, 4, 4)), 'bool or integers'),
    ],
)
def test_other_masks_are_refused(masks, said):
    with pytest.raises(ValueError, match=said):
        patch_counts(masks, (2, 2))


def test_other_scores_are_refused():
    with pytest.raises(ValueError, match='not finite'):
        average_precision(np.array([[np.nan, 0.0]]), np.ones((1, 2)), np.ones(2))
    with pytest.raises(ValueError, match='must be'):
        average_precision(np.zeros((1, 3)), np.ones((1, 2)), np.ones(2))


def test_leading_axes_are_scored_one_by_one():
    draw = np.random.default_rng(1)
    scores, pixels = draw.random((2, 6)), draw.integers(5, 9, (4, 6))
    positives = draw.integers(0, 5, (4, 3, 6))
    found = average_precision(scores, positives, pixels)
    assert found.shape == (4, 2, 3)
    for b in range(4):
        np.testing.assert_allclose(
            found[b], average_precision(scores, positives[b], pixels[b]), atol=1e-15
        )


def test_coverage_counts_the_part_above_the_mean():
    scores = np.array(
        [[4.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]]
    )  # means 1.5 and 1: above, [0] and none
    positives = np.array([[3, 1, 0, 0], [0, 2, 2, 0]])
    np.testing.assert_allclose(coverage(scores, positives), [[0.75, 0.0], [0.0, 0.0]])
    for value in np.float32([0.1, 1 / 3, 1e-7]):  # no patch of a constant map is above its mean
        assert coverage(np.full((1, 196), value), np.ones((1, 196))) == 0


def test_maps_on_the_grid():
    """Area averages; a size that the grid does not divide as adaptive average pooling."""
    maps = np.arange(32.0).reshape(2, 4, 4)
    np.testing.assert_allclose(on_grid(maps, (2, 2))[0], [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_allclose(
        on_grid(np.eye(3, dtype=bool)[None], (2, 2))[0], [[0.5, 0.25], [0.25, 0.5]]
    )  # the middle belongs to all four


def test_the_truth_on_the_grid_is_perfect_where_borders_fit():
    mask = np.zeros((1, 28, 28), bool)
    mask[0, 4:12, 8:20] = True
    assert ours(on_grid(mask, (14, 14)), mask)[0, 0] == 1.0
    mask[0, 12] = True  # half a patch: better than all maps without the truth, but not perfect
    assert 0.9 < ours(on_grid(mask, (14, 14)), mask)[0, 0] < 1.0


def test_the_best_head_by_the_mean():
    scores = np.array([[0.9, 0.2, 0.5], [0.0, 0.2, 0.6]])
    assert choose_head(scores, range(3)) == 2
    assert choose_head(scores, [0, 1]) == 0
    assert choose_head(np.zeros((2, 3)), [1, 2]) == 1
