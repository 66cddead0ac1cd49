"""Spectrum and spread against numpy, scipy and cases with a known answer."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import svdvals
from scipy.stats import entropy

from orl_mm.models.utils.diagnostics import count_objects, effective_rank, embedding_spread


@pytest.mark.parametrize('shape', [(40, 8), (8, 40), (1, 6)])
def test_effective_rank_equals_the_definition_with_scipy(shape):
    points = np.random.default_rng(0).normal(size=shape) * np.linspace(0.1, 3.0, shape[1])
    expected = np.exp(entropy(svdvals(points)))
    assert effective_rank(torch.tensor(points)) == pytest.approx(expected, rel=1e-9)


def test_effective_rank_of_known_spectra():
    assert effective_rank(torch.eye(7)) == pytest.approx(7.0)
    assert effective_rank(torch.ones(20, 5)) == pytest.approx(1.0, abs=1e-4)
    # Singular values 3 and 1: p = 3/4, 1/4.
    known = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(known)


def test_effective_rank_where_it_does_not_exist():
    assert math.isnan(effective_rank(torch.zeros(4, 3)))
    assert math.isnan(effective_rank(torch.zeros(0, 3)))
    assert math.isnan(effective_rank(torch.tensor([[1.0, math.nan]])))
    with pytest.raises(ValueError, match=r'\(3,\)'):
        effective_rank(torch.zeros(3))


def test_spread_is_one_for_isotropic_and_zero_for_equal_rows():
    draw = torch.Generator().manual_seed(0)
    points = torch.randn(20000, 64, generator=draw) * torch.rand(20000, 1, generator=draw)
    assert embedding_spread(points) == pytest.approx(1.0, abs=0.01)
    assert embedding_spread(torch.ones(10, 64) * torch.arange(1.0, 11.0)[:, None]) < 1e-5


def test_spread_equals_numpy():
    points = np.random.default_rng(1).normal(size=(17, 5)) + 1.0
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    expected = unit.std(axis=0, ddof=1).mean() * np.sqrt(5)
    assert embedding_spread(torch.tensor(points)) == pytest.approx(expected, rel=1e-5)
    assert math.isnan(embedding_spread(torch.ones(1, 5)))
    with pytest.raises(ValueError, match='rows'):
        embedding_spread(torch.zeros(3))


def test_counts_equal_those_of_numpy():
    labels = np.random.default_rng(2).integers(0, 30, size=(5, 6, 6))
    counts = count_objects(torch.tensor(labels))
    assert counts.per_image == pytest.approx(np.mean([len(np.unique(m)) for m in labels]))
    assert counts.used == len(np.unique(labels))
    one = count_objects(torch.full((2, 3, 3), 7))
    assert (one.per_image, one.used) == (1.0, 1)
