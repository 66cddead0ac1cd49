"""tools/benchmark.py: that it runs and reports, and that the published step is R2O's."""

import copy
import importlib.util
import json
import math
from pathlib import Path

import pytest
import torch

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'benchmark.py'


@pytest.fixture(scope='module')
def benchmark():
    spec = importlib.util.spec_from_file_location('benchmark_tool', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # also puts tools/ on the path, for `_bench`
    return module


def test_lists_its_names(benchmark, capsys):
    assert benchmark.main([]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ('r2o', 'regions', 'kmeans', 'loader'))


def test_an_unknown_name_is_answered_with_those_that_exist(benchmark, capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark.main(['speed'])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "'speed'" in message
    assert 'regions' in message
    assert 'kmeans' in message


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        (
            'regions',
            [
                'labels to 14x14: one-hot + bilinear (published) / counting',
                'masks to a view: crop_masks',
                'extra peak memory of regions and clustering',
            ],
        ),
        (
            'kmeans',
            ['time, ours / scikit-learn: gaussians', 'inertia, ours / scikit-learn: features'],
        ),
    ],
)
def test_quick_run_writes_json(benchmark, name, expected, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv('ORL_DATA', raising=False)
    file = tmp_path / 'out' / 'figures.json'
    assert benchmark.main([name, '--quick', '--rounds', '1', '--json', str(file)]) == 0
    found = json.loads(file.read_text())
    assert set(found) == {'benchmark', 'environment', 'settings', 'figures', 'details'}
    assert found['benchmark'] == name
    assert {'torch', 'threads', 'cpu_count'} <= set(found['environment'])
    assert found['settings']['device'] == 'cpu'
    figures = {figure['name']: figure for figure in found['figures']}
    assert set(expected) <= set(figures)
    for figure in figures.values():
        assert set(figure) == {'name', 'value', 'unit', 'target', 'sense', 'note', 'met'}
        assert math.isfinite(figure['value'])
    table = capsys.readouterr().out
    assert all(f'| {wanted}' in table for wanted in expected)


def test_figures_that_are_no_times_hold_in_a_quick_run(benchmark, tmp_path):
    """The figures that are no times hold in a quick run too."""
    file = tmp_path / 'regions.json'
    benchmark.main(['regions', '--quick', '--rounds', '1', '--json', str(file)])
    figures = {f['name']: f for f in json.loads(file.read_text())['figures']}
    assert figures['labels to 14x14: largest difference to the area average']['met']
    assert 0 < figures['extra peak memory of regions and clustering']['value'] < 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'expected', 'details'),
    [
        (
            'r2o',
            [
                'R2O / BYOL, fp32, contiguous',
                'R2O fp32 channels-last / published',
                'regions and clustering / R2O step, C4 not counted',
            ],
            ['seconds', 'roi_align', 'parts', 'adjusted_rand'],
        ),
        (
            'loader',
            [
                'x0, cached superpixels and two views / two views',
                'x0, online SLIC and two views / two views',
            ],
            ['cached', 'online', 'ms'],
        ),
    ],
)
def test_quick_run_of_whole_steps(benchmark, name, expected, details, tmp_path, monkeypatch):
    monkeypatch.delenv('ORL_DATA', raising=False)
    file = tmp_path / 'figures.json'
    assert benchmark.main([name, '--quick', '--rounds', '1', '--json', str(file)]) == 0
    found = json.loads(file.read_text())
    assert set(found) == {'benchmark', 'environment', 'settings', 'figures', 'details'}
    figures = {figure['name']: figure for figure in found['figures']}
    assert set(expected) <= set(figures)
    assert set(details) <= set(found['details'])
    for figure in figures.values():
        assert math.isfinite(figure['value']), figure
    assert all(figures[wanted]['value'] > 0 for wanted in expected)


def test_figures_know_whether_they_are_met(benchmark):
    from _bench.report import Figure

    assert Figure('a', 1.0, target=1.0).met
    assert not Figure('a', 1.1, target=1.0).met
    assert Figure('a', 60.0, target=50.0, sense='at least').met
    assert not Figure('a', 40.0, target=50.0, sense='at least').met
    assert Figure('a', 1.0).met is None


def test_sides_take_turns(benchmark):
    from _bench.clock import interleave

    calls = []
    seconds = interleave(dict(a=lambda: calls.append('a'), b=lambda: calls.append('b')), 2, 1)
    assert ''.join(calls) == 'ababab'  # one round of warm-up
    assert [len(seconds[side]) for side in 'ab'] == [2, 2]


def test_peak_memory_counts_what_lives_at_once(benchmark):
    from _bench.memory import peak_bytes

    mega = 2**18  # float32 values in 1 MiB

    def one_after_another():
        for _ in range(4):
            torch.ones(3 * mega)

    def together():
        kept = [torch.ones(3 * mega) for _ in range(4)]
        return len(kept)

    assert peak_bytes(one_after_another) / 2**20 == pytest.approx(3, abs=0.1)
    assert peak_bytes(together) / 2**20 == pytest.approx(12, abs=0.1)


def test_published_kmeans_ends_at_a_fixed_point(benchmark):
    from _bench.published_kmeans import published_kmeans

    points = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    labels, centers, iterations = published_kmeans(points, 6, torch.Generator().manual_seed(1))
    assert iterations < 200
    assert torch.equal(labels, torch.cdist(points, centers).argmin(1))
    means = torch.stack([points[labels == c].mean(0) for c in range(6)])
    torch.testing.assert_close(centers, means)


def test_published_step_equals_ours_with_official_arguments(benchmark, monkeypatch):
    """Same networks, same clusters: same loss and gradients, target updated in between."""
    from _bench.batches import make_batch
    from _bench.published import PublishedStep
    from _bench.steps import build_model

    from orl_mm.models.refiners import kmeans_refiner
    from orl_mm.models.utils.kmeans import KMeansResult

    monkeypatch.delenv('ORL_DATA', raising=False)
    k, momentum = 8, 0.7
    inputs, batch, _ = make_batch(2, segments=15)
    ours = build_model(18, k, config='configs/r2o/r50_in1k_official.py')
    with torch.no_grad():  # a target that differs, so that its update shows
        for p in ours.target.parameters():
            p.mul_(1 + 0.2 * torch.rand_like(p))
    theirs = copy.deepcopy(ours)
    seen = []

    def clusters(points):
        seen.append(points)
        return torch.arange(len(points)) * 5 % k

    def fixed(points, num_clusters, generator=None, **kwargs):
        centers = points.new_zeros(num_clusters, points.shape[1])
        return KMeansResult(
            clusters(points),
            centers,
            torch.ones(num_clusters, dtype=torch.bool),
            points.new_zeros(()),
            torch.zeros((), dtype=torch.long),
        )

    monkeypatch.setattr(kmeans_refiner, 'fit_kmeans', fixed)
    ours.pending_momentum = momentum
    loss = ours.loss(inputs, batch)['loss']
    loss.backward()
    step = PublishedStep(theirs, k, momentum, cluster=clusters)
    expected = step.loss(*inputs, batch.labels.long(), batch.views)
    expected.backward()

    torch.testing.assert_close(seen[0], seen[1], atol=1e-5, rtol=0)
    assert 0 < ours.last.valid.sum() < ours.last.valid.numel()
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    for name in ('backbone.conv1.weight', 'neck.projector.fc0.weight', 'head.predictor.fc1.weight'):
        mine, other = (dict(m.named_parameters())[name].grad for m in (ours, theirs))
        torch.testing.assert_close(mine, other, atol=2e-4 * float(other.abs().max()), rtol=1e-3)
    for mine, other in zip(ours.target.parameters(), theirs.target.parameters(), strict=False):
        torch.testing.assert_close(mine, other)
