"""K-means against scikit-learn and against what can be worked out by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from orl_mm.models.utils import fit_kmeans, kmeans
from orl_mm.models.utils.kmeans_solver import KMeansSolver


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def seeded(points, k, generator=None, table=False):
    """A solver after k-means++."""
    solver = KMeansSolver(points, k, table=table)
    noise = torch.rand(solver.noise_shape, generator=generator, dtype=points.dtype).log_()
    solver.seed(points, torch.ones(len(points), dtype=points.dtype), noise)
    return solver


def test_finds_separated_blobs():
    points, truth = make_blobs(400, 16, centers=12, cluster_std=0.05, random_state=0)
    labels, centers = kmeans(torch.tensor(points), 12, generator())
    assert adjusted_rand_score(truth, labels) == 1
    means = np.stack([points[labels.numpy() == k].mean(0) for k in range(12)])
    np.testing.assert_allclose(centers, means, atol=1e-5)


def test_inertia_matches_scikit_learn():
    """Mean over seeds within 2 % on data without clear clusters."""
    points = np.random.default_rng(0).normal(size=(800, 64)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    ours = [float(fit_kmeans(torch.tensor(points), 32, generator(s)).inertia) for s in range(8)]
    theirs = [KMeans(32, n_init=1, random_state=s).fit(points).inertia_ for s in range(8)]
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.02)


def test_result_is_a_fixed_point_of_lloyd():
    """From our centers scikit-learn's Lloyd moves nowhere when we ran to the end."""
    points = torch.randn(300, 8, generator=generator(1))
    result = fit_kmeans(points, 7, generator(), max_iters=1000, absolute_tol=0.0)
    again = KMeans(7, init=result.centers.numpy(), n_init=1, max_iter=1, tol=0).fit(points.numpy())
    np.testing.assert_allclose(again.cluster_centers_, result.centers, atol=1e-5)
    assert (again.labels_ == result.labels.numpy()).all()
    assert float(result.inertia) == pytest.approx(again.inertia_, rel=1e-5)


@pytest.mark.parametrize('table', [False, True])
def test_plus_plus_potential_matches_scikit_learn(table):
    points = torch.randn(500, 12, generator=generator(1))

    def potential(centers):
        return (
            torch.cdist(points.double(), torch.as_tensor(centers).double())
            .min(1)
            .values.square()
            .sum()
        )

    solvers = [seeded(points, 20, generator(s), table) for s in range(20)]
    ours = [potential(s.seeds[:, :-1] + s.middle) for s in solvers]
    theirs = [potential(kmeans_plusplus(points.numpy(), 20, random_state=s)[0]) for s in range(20)]
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.02)


@pytest.mark.parametrize(
    ('points', 'k', 'expected'),
    [
        (torch.ones(9, 4), 4, 1),
        (torch.zeros(1, 3), 5, 1),
        (torch.randn(5, 3).repeat(7, 1), 12, 5),
        (torch.tensor([[0.0], [1.0], [2.0], [1000.0]]), 10, 4),
        (torch.randn(20, 64) * 1e-3 + 5.0, 30, 20),
        (torch.arange(6.0)[:, None], 6, 6),
    ],
)
def test_more_clusters_than_distinct_points(points, k, expected):
    labels, centers = kmeans(points, k, generator())
    assert centers.shape == (expected, points.shape[1])
    torch.testing.assert_close(centers[labels], points)
    assert labels.unique().numel() == expected


def test_empty_clusters_get_a_valid_center():
    """One far outlier beside many copies: Lloyd's step would empty a cluster into NaN."""
    points = torch.cat([torch.zeros(50, 2), torch.randn(50, 2) * 1e-3, torch.tensor([[1e3, 0.0]])])
    for seed in range(10):
        labels, centers = kmeans(points, 8, generator(seed))
        assert torch.isfinite(centers).all()
        assert len(centers) == 8
        assert int(labels.max()) < 8


def test_draws_only_from_its_generator():
    points = torch.randn(100, 4, generator=generator(3))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = kmeans(points, 9, generator(1))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    second = kmeans(points, 9, generator(1))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[1], kmeans(points, 9, generator(2))[1])


def test_half_precision_is_clustered_in_fp32():
    points = torch.randn(64, 8, generator=generator()).bfloat16()
    result = fit_kmeans(points, 5, generator())
    assert result.centers.dtype == torch.float32
    assert torch.equal(result.labels, fit_kmeans(points.float(), 5, generator()).labels)


def test_stops_at_the_tolerance():
    points = torch.randn(2000, 4, generator=generator())
    loose = fit_kmeans(points, 20, generator(), tol=0.1)
    tight = fit_kmeans(points, 20, generator(), tol=1e-6)
    assert int(loose.iterations) < int(tight.iterations) < 200
    assert float(tight.inertia) < float(loose.inertia)
    assert int(fit_kmeans(points, 20, generator(), max_iters=3).iterations) <= 3


@pytest.mark.parametrize('seed', range(3))
def test_an_inertia_of_zero_settles_at_once(seed):
    """Whatever its rounding."""
    for d in (3, 64, 300):
        points = torch.randn(10, d, generator=generator(seed)).repeat(4, 1)
        assert fit_kmeans(points, 12, generator()).iterations <= 2


@pytest.mark.parametrize('limit', [30.0, 1.0, 0.03])
def test_absolute_tolerance_is_the_change_of_the_inertia(limit):
    """It stops after the first iteration that lowers the inertia by no more than the limit."""
    points = torch.randn(600, 4, generator=generator(), dtype=torch.float64)
    options = dict(tol=0.0, absolute_tol=limit)
    found = int(fit_kmeans(points, 12, generator(), **options).iterations)
    inertia = [
        float(fit_kmeans(points, 12, generator(), tol=0.0, max_iters=n).inertia)
        for n in range(found + 1)
    ]
    falls = -np.diff(inertia)
    assert found > 1
    assert falls[-1] <= limit
    assert (falls[:-1] > limit).all()


def test_an_empty_cluster_starts_again_from_its_seed():
    """From these centers the next means are -4.7, 5 and 14.8: nothing is nearest to 5."""
    points = torch.tensor([-7.5] + 4 * [-4.0] + [0.0, 10.0] + 4 * [13.0] + [22.0])[:, None]
    solver = seeded(points, 3, generator())
    solver.dead.zero_()
    solver.seeds[:, 0] = torch.tensor([-7.5, 0.0, 22.0]) - solver.middle
    solver.centers[0, :, 1] = solver.seeds[:, 0]
    found = []
    for _ in range(3):
        solver.iterate(1)
        found.append((solver.centers[0, :, 1] + solver.middle).tolist())
    assert found[0] == pytest.approx([-4.7, 5, 14.8], abs=1e-4)
    assert found[1] == pytest.approx([-23.5 / 6, 0, 14.0], abs=1e-4)
    assert found[2] == pytest.approx([-4.7, 0, 14.0], abs=1e-4)


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(value):
    points = torch.randn(10, 3)
    points[4, 1] = value
    with pytest.raises(ValueError, match='NaN or infinite'):
        kmeans(points, 2)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match='N >= 1'):
        kmeans(torch.zeros(0, 3), 2)
    with pytest.raises(ValueError, match='at least 1, got 0'):
        kmeans(torch.zeros(4, 3), 0)


@pytest.mark.parametrize('n', [20, 256, 300, 301])
def test_candidate_distances_equal_the_plain_ones(n):
    """Cut into pieces or not, with a remainder or without."""
    points = torch.randn(n, 7, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    rows = torch.tensor([0, n - 1, n // 2])
    expected = torch.cdist(points[rows], points).square()
    for table in (False, True):
        found = seeded(points, 2, generator(), table)._distances(rows)
        torch.testing.assert_close(found, expected)
        assert (found == 0).sum() == len(rows)


def test_seeding_reads_nothing_back_per_cluster():
    """Values of the device read by the host (`item`) do not grow with K."""
    from torch.profiler import ProfilerActivity, profile

    points = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    reads = []
    for k in (2, 40):
        with profile(activities=[ProfilerActivity.CPU]) as recorded:
            seeded(points, k)
        reads.append(sum(e.name == 'aten::_local_scalar_dense' for e in recorded.events()))
    assert reads[0] == reads[1]
