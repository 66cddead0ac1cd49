"""What a GPU does differently, on a CPU: padding, two steps of k-means++ at once, chunks of
Lloyd's iterations, static buffers, replays. The labels must stay the same."""

import copy
import pickle

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from orl_mm.models.refiners.kmeans_refiner import KMeansRefiner
from orl_mm.models.utils import fit_kmeans
from orl_mm.models.utils.kmeans_graphs import KMeansGraphs
from orl_mm.models.utils.kmeans_solver import KMeansSolver
from orl_mm.structures import RegionBatch

N, K = 200, 13


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def cloud(n=N, d=6, seed=1):
    return torch.randn(n, d, generator=generator(seed))


def noise_of(k=K, n=N, seed=0):
    return torch.rand(k + 1, 2 + int(torch.tensor(k).log()), n, generator=generator(seed)).log_()


def solve(points, noise, valid=None, max_iters=200, k=K, **kwargs):
    """Labels and centers, all iterations run: chunks after the last necessary one included."""
    solver = KMeansSolver(points, k, 1e-4, **kwargs)
    valid = torch.ones(len(points)) if valid is None else valid
    solver.seed(points, valid, noise[: solver.noise_shape[0]])
    count, left = 0, max_iters + 1
    while left:
        steps = min(solver.chunk, left)
        left -= steps
        solver.iterate(steps, left > 0)
        count += int(solver.stop)
    return solver.result(solver.stop.clamp(max=steps - 1), count)


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('k', [1, 2, 13, 14])
def test_two_steps_at_once_are_two_single_steps(k, seed):
    points, noise = cloud(seed=seed), noise_of(k, seed=seed)
    single, double = (KMeansSolver(points, k, table=table) for table in (False, True))
    for solver in (single, double):
        solver.seed(points, torch.ones(N), noise[: solver.noise_shape[0]])
    assert (single.lookahead, double.lookahead) == (1, 2)
    assert torch.equal(single.seeds, double.seeds)
    assert len(single.seeds.unique(dim=0)) == k


@pytest.mark.parametrize('table', [False, True])
def test_seeds_are_those_of_greedy_k_means_plus_plus(table):
    """The definition, step by step: T draws, of which the smallest potential is kept."""
    points, noise = cloud().double(), noise_of().double()
    solver = KMeansSolver(points, K, table=table)
    solver.seed(points, torch.ones(N).double(), noise[: solver.noise_shape[0]])
    distances = torch.cdist(points, points).square().fill_diagonal_(0)
    chosen = [int(noise[0, 0].argmax())]
    while len(chosen) < K:
        nearest = distances[chosen].amin(0)
        drawn = (noise[len(chosen)] / nearest).argmax(1).tolist()
        potentials = [torch.minimum(nearest, distances[c]).sum() for c in drawn]
        chosen.append(drawn[int(torch.stack(potentials).argmin())])
    torch.testing.assert_close(solver.seeds[:, :-1] + solver.middle, points[chosen])


@pytest.mark.parametrize('max_iters', [200, 5])
@pytest.mark.parametrize('chunk', [2, 3, 50])
def test_chunks_change_nothing(chunk, max_iters):
    """Iterations after convergence are frozen; the limit holds within a chunk as well."""
    points, noise = cloud(), noise_of()
    one, many = (solve(points, noise, max_iters=max_iters, chunk=c) for c in (1, chunk))
    for a, b in zip(one[:4], many[:4], strict=True):
        assert torch.equal(a, b)
    if max_iters == 200:
        assert 5 < one.iterations == many.iterations < 100


@pytest.mark.parametrize('table', [False, True])
def test_rows_that_fill_the_shape_change_nothing(table):
    rows = torch.randperm(2 * N, generator=generator(2))[:N].sort().values
    points, noise = torch.zeros(2 * N, 6), torch.rand(K + 1, 4, 2 * N).log_()
    valid = torch.zeros(2 * N).index_fill_(0, rows, 1.0)
    points[rows], noise[:, :, rows] = cloud() + 3.0, noise_of()
    plain = solve(cloud() + 3.0, noise_of())
    padded = solve(points, noise, valid, chunk=3, table=table)
    assert torch.equal(padded.labels[rows], plain.labels)
    torch.testing.assert_close(padded.centers, plain.centers)
    torch.testing.assert_close(padded.inertia, plain.inertia, rtol=1e-4, atol=0)


@pytest.mark.parametrize('table', [False, True])
def test_rows_that_fill_the_shape_are_no_points(table):
    """With more clusters than points, each point is a center and nothing else is."""
    points, valid = torch.zeros(30, 4), torch.zeros(30)
    points[10:25], valid[10:25] = cloud(15, 4) + 3.0, 1
    solver = KMeansSolver(points, 20, table=table)
    solver.seed(points, valid, torch.rand(solver.noise_shape).log_())
    solver.iterate(1, more=False)
    found = solver.result(solver.stop * 0, 0)
    assert found.alive.tolist() == [True] * 15 + [False] * 5
    assert torch.isfinite(found.centers).all()
    assert sorted(found.labels[10:25].tolist()) == list(range(15))
    torch.testing.assert_close(found.centers[found.labels[10:25]], points[10:25])


def test_draws_are_proportional_to_the_squared_distance():
    """Chi-square of the second center of many runs, after each first one; a trial each."""
    points = torch.tensor([[0.0], [1.0], [2.0], [4.0]])
    solver, counts = KMeansSolver(points, 2), torch.zeros(4, 4)
    draws, solver.trials = generator(), 1
    solver.paths = solver.paths[:1]
    solver.waits, solver.drawn = solver.waits[:, :1], solver.drawn[:, :1]
    for _ in range(400):
        solver.seed(points, torch.ones(4), torch.rand(2, 1, 4, generator=draws).log_())
        first, second = solver.seeds[:, 0] + solver.middle
        counts[(points[:, 0] - first).abs().argmin(), (points[:, 0] - second).abs().argmin()] += 1
    distance = torch.cdist(points, points).square()
    expected = counts.sum(1, keepdim=True) * distance / distance.sum(1, keepdim=True)
    assert (counts[expected == 0] == 0).all()
    chi2 = ((counts - expected).square() / expected)[expected > 0].sum()
    assert chi2 < 26.1  # 4 * 2 degrees of freedom, p = 0.001
    assert ((counts.sum(1) - 100).square() / 100).sum() < 16.3  # the first center is uniform


class Launches(TorchDispatchMode):
    """Counts operators that would launch a kernel."""

    FREE = {'view', 'expand', 'select', 'slice', 'unsqueeze', 'unbind', 't', 'split', 'empty'}
    FREE |= {'_unsafe_view', 'new_empty', 'transpose', 'detach', 'alias', 'as_strided'}
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ not in self.FREE
        return func(*args, **(kwargs or {}))


def test_few_operators_are_launched():
    """As on a GPU, but for the sums of an iteration: K = 64 in 32 rounds, 3 iterations a chunk."""
    points, counts = cloud(), []
    solver = KMeansSolver(points, 64, table=True, chunk=3)
    noise = torch.rand(solver.noise_shape).log_()
    for function in (lambda: solver.seed(points, torch.ones(N), noise), lambda: solver.iterate(3)):
        with Launches() as launches:
            function()
        counts.append(launches.count)
    assert counts[0] <= 32 * 11 + 25
    assert counts[1] <= 3 * 6 + 6


class Recorder:
    """In place of a CUDA graph: runs the function again at each replay."""

    def __init__(self):
        self.captured = self.replays = 0

    def __call__(self, function):
        function()  # as the warm-up does
        self.captured += 1

        def replay():
            self.replays += 1
            function()

        return replay


def test_replays_give_the_labels_of_eager_runs():
    recorder = Recorder()
    graphs = KMeansGraphs(capture=recorder)
    for seed in range(4):
        points, valid = cloud(seed=seed), torch.ones(N)
        valid[150:], points[150:] = 0, 0
        before = points.clone()
        eager = fit_kmeans(points, K, generator(seed), valid=valid)
        found = fit_kmeans(points, K, generator(seed), valid=valid, graphs=graphs)
        assert torch.equal(points, before)
        for a, b in zip(eager[:4], found[:4], strict=True):
            assert torch.equal(a, b)
        assert eager.iterations == found.iterations
        assert recorder.captured == (2 if seed else 0)  # from the second call on
    assert recorder.replays > 8


def test_another_size_or_k_has_its_own_graph():
    recorder = Recorder()
    graphs = KMeansGraphs(most=2, capture=recorder)
    calls = [(N, K), (N, K), (N - 8, K), (N, K), (N, K - 1), (N - 8, K), (N - 8, K)]
    captured = []
    for n, k in calls:
        labels = fit_kmeans(cloud(n), k, generator(), graphs=graphs).labels
        assert torch.equal(labels, fit_kmeans(cloud(n), k, generator()).labels)
        captured.append(recorder.captured)
    # The size N - 8 was dropped for K - 1, and N for N - 8, the least recently used ones.
    assert captured == [0, 2, 2, 2, 2, 2, 4]


def test_a_result_outlives_the_next_call():
    graphs = KMeansGraphs(capture=Recorder())
    first = fit_kmeans(cloud(), K, generator(), graphs=graphs)
    kept = [x.clone() for x in first[:4]]
    for seed in range(3):
        fit_kmeans(cloud(seed=seed + 5), K, generator(seed), graphs=graphs)
    for a, b in zip(first[:4], kept, strict=True):
        assert torch.equal(a, b)


def test_a_capture_that_fails_is_reported_once(caplog):
    def capture(function):
        raise RuntimeError('operation not permitted when stream is capturing')

    graphs = KMeansGraphs(capture=capture)
    for n in (N, N, N, N - 8, N - 8):
        labels = fit_kmeans(cloud(n), K, generator(), graphs=graphs).labels
        assert torch.equal(labels, fit_kmeans(cloud(n), K, generator()).labels)
    warnings = [r.getMessage() for r in caplog.records if 'CUDA graph' in r.getMessage()]
    assert len(warnings) <= 1  # mmengine's logger may not propagate
    assert graphs.capture is None


def test_copies_are_empty():
    graphs = KMeansGraphs(most=3)
    fit_kmeans(cloud(), K, generator(), graphs=graphs)
    for other in (copy.deepcopy(graphs), pickle.loads(pickle.dumps(graphs))):
        assert (other.most, other.capture) == (3, graphs.capture)
        assert not other._kept


@pytest.mark.parametrize('cluster_empty', [False, True])
@pytest.mark.parametrize('counts', [[2, 3], [32, 20]], ids=['padded', 'as many as the padding'])
def test_the_padded_table_of_regions(counts, cluster_empty):
    """32 rows an image with what is valid beside them, as on a GPU; their compact form."""
    pixels = torch.arange(64 * 64).view(64, 64)
    labels = torch.stack([pixels * n // 64**2 for n in counts]).to(torch.uint8)
    batch = RegionBatch(torch.zeros(2, 2, 5), labels, counts)
    refiner = KMeansRefiner(2, mask_size=16, cluster_empty=cluster_empty)
    feats = torch.rand(2, 5, 4, 4, generator=generator())
    compact, rows, _ = refiner._points(feats, batch)
    masks, regions = refiner._regions(batch, torch.Size([4, 4]), padded=True)
    points, none, shape = refiner._points(feats, batch, masks, padded=True)
    valid = refiner._valid(batch)
    assert none is None
    assert tuple(shape) == (2, 32)
    torch.testing.assert_close(points[valid.bool()], compact)
    assert len(compact) == (2 * max(counts) if cluster_empty else sum(counts))
    assert not points[~valid.bool()].any()
    assert torch.equal(regions, refiner._regions(batch, torch.Size([4, 4]))[1])
