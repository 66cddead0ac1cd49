"""tools/benchmark.py: it runs and reports, and both sides of a ratio are the same training."""

import copy
import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'tools'))
import benchmark  # noqa: E402
from benchmarks import baselines, dino, timing, training  # noqa: E402
from benchmarks.reference import dino as reference_dino  # noqa: E402
from benchmarks.reference import r2o as reference_r2o  # noqa: E402

from orl_mm.models.refiners import kmeans_refiner  # noqa: E402
from orl_mm.models.utils.kmeans import KMeansResult  # noqa: E402


@pytest.fixture(autouse=True)
def _embedded_photographs(monkeypatch):
    monkeypatch.delenv('ORL_DATA', raising=False)


def quick_run(folder, name, *options):
    """What ``NAME --quick --json FILE`` writes, and its figures by name."""
    file = folder / 'out' / 'figures.json'
    assert benchmark.main([name, '--quick', '--rounds', '1', '--json', str(file), *options]) == 0
    found = json.loads(file.read_text())
    assert set(found) == {'benchmark', 'environment', 'settings', 'figures', 'details'}
    return found, {figure['name']: figure for figure in found['figures']}


slow = pytest.mark.slow


def test_benchmarks_are_listed(capsys):
    assert benchmark.main([]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in benchmark.BENCHMARKS)
    with pytest.raises(SystemExit, match='2'):
        benchmark.main(['speed'])
    message = capsys.readouterr().err
    assert all(word in message for word in ("'speed'", 'regions', 'kmeans'))


FIGURES = dict(
    regions=[
        'labels to 14x14: one-hot + bilinear (published) / counting',
        'masks to a view: crop_masks',
        'extra peak memory of regions and clustering',
    ],
    kmeans=['time, ours / scikit-learn: gaussians', 'inertia, ours / published: features'],
    dino=['AttentionRegHook on / off', 'this step / the published one'],
    r2o=[
        'R2O / BYOL, fp32, contiguous',
        'R2O fp32 channels-last / published',
        'regions and clustering / R2O step, C4 not counted',
    ],
    baselines=['PixPro / BYOL', 'DetCon_B / R2O without clustering, views joined'],
    loader=[
        'x0, cached superpixels and two views / two views',
        'x0, online SLIC and two views / two views',
    ],
)


@pytest.mark.parametrize(
    'name', ['regions', 'kmeans', 'dino', *(pytest.param(x, marks=slow) for x in list(FIGURES)[3:])]
)
def test_quick_run(name, tmp_path, capsys):
    found, figures = quick_run(tmp_path, name)
    assert found['benchmark'] == name
    assert {'torch', 'threads', 'cpu_count'} <= set(found['environment'])
    assert found['settings']['device'] == 'cpu'
    for figure in figures.values():
        assert set(figure) == {'name', 'value', 'unit', 'target', 'sense', 'note', 'met'}
        assert math.isfinite(figure['value'])
    printed = capsys.readouterr().out
    for wanted in FIGURES[name]:
        assert figures[wanted]['value'] > 0
        assert f'| {wanted}' in printed
    # Figures that do not depend on the time must hold at any size.
    for key in ('largest difference', 'extra peak memory', 'loss on the same weights'):
        assert all(f['met'] for name, f in figures.items() if key in name)


def test_report_compares_with_targets():
    report = timing.Report('name', benchmark.argparse.Namespace(device='cpu', clock='wall'))
    for value, sense in ((1.0, 'at most'), (1.1, 'at most'), (60, 'at least'), (40, 'at least')):
        report.add('a', value, target=1.0 if sense == 'at most' else 50.0, sense=sense)
    report.add('b', 1.0)
    report.ratio('c', dict(x=[1.0, 2.0, 9.0], y=[4.0, 4.0, 4.0]), 'x', 'y')
    assert [f['met'] for f in report.figures] == [True, False, True, False, None, None]
    assert report.figures[-1]['value'] == 0.5
    assert 'pairs 0.250..2.250' in report.figures[-1]['note']


def test_sides_take_turns(monkeypatch):
    calls, ticks = [], iter(range(100))
    monkeypatch.setitem(timing.CLOCKS, 'process', lambda: next(ticks))
    sides = dict(a=lambda: calls.append('a'), b=lambda: calls.append('b'))
    seconds = timing.in_turns(sides, 2, 1, repeat=2, clock='process')
    assert ''.join(calls) == 'aabb' * 3  # one round of warm-up
    assert seconds == dict(a=[0.5, 0.5], b=[0.5, 0.5])


def test_watched_functions_are_added_up_and_restored(monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setitem(timing.CLOCKS, 'process', lambda: next(ticks))
    layer = torch.nn.Linear(2, 2)
    parts = [('net', layer, 'forward'), ('net', layer, 'extra_repr'), ('other', layer, 'cpu')]
    with timing.watch(parts, clock='process') as readings:
        layer(torch.zeros(1, 2))
        layer.extra_repr()
    assert readings() == dict(net=2, other=0)
    assert 'forward' not in vars(layer)


def test_peak_memory_counts_what_lives_at_once():
    mega = 2**18  # float32 values in 1 MiB

    def one_after_another():
        for _ in range(4):
            torch.ones(3 * mega)

    def together():
        kept = [torch.ones(3 * mega) for _ in range(4)]
        return len(kept)

    assert timing.peak_bytes(one_after_another) / 2**20 == pytest.approx(3, abs=0.1)
    assert timing.peak_bytes(together) / 2**20 == pytest.approx(12, abs=0.1)


def test_views_are_cut_where_their_boxes_say():
    (x1, x2, x0), batch, _ = training.make_batch(2, 64, segments=8)
    for view, boxes in ((x1, batch.views[:, 0]), (x2, batch.views[:, 1])):
        for image, whole, (left, top, right, bottom, flip) in zip(view, x0, boxes, strict=True):
            a, b, c, d = (round(float(v) * 64) for v in (left, top, right, bottom))
            crop = torch.nn.functional.interpolate(
                whole[None, :, b:d, a:c], (64, 64), mode='bilinear'
            )[0]
            torch.testing.assert_close(image, crop.flip(-1) if flip else crop)


def test_published_kmeans_ends_at_a_fixed_point():
    points = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    labels, centers, iterations = reference_r2o.published_kmeans(points, 6, generator)
    assert iterations < 200
    assert torch.equal(labels, torch.cdist(points, centers).argmin(1))
    means = torch.stack([points[labels == c].mean(0) for c in range(6)])
    torch.testing.assert_close(centers, means)


def test_published_step_equals_ours_with_official_arguments(monkeypatch):
    """Same networks, same clusters: same loss and gradients, target updated in between."""
    k, momentum = 8, 0.7
    inputs, batch, _ = training.make_batch(2, segments=15)
    batch.views[0, 0] = torch.tensor([0.1, 0.2, 0.3, 0.4, 1.0])  # shows few of the objects
    ours = training.build_model('configs/r2o/r50_in1k_official.py', 18, num_clusters=k)
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
        alive = torch.ones(num_clusters, dtype=torch.bool)
        zero = points.new_zeros(())
        return KMeansResult(clusters(points), centers, alive, zero, zero.long())

    monkeypatch.setattr(kmeans_refiner, 'fit_kmeans', fixed)
    ours.pending_momentum = momentum
    loss = ours.loss(inputs, batch)['loss']
    loss.backward()
    step = reference_r2o.PublishedStep(theirs, k, momentum, cluster=clusters)
    expected = step.loss(*inputs, batch.labels.long(), batch.views)
    expected.backward()

    torch.testing.assert_close(seen[0], seen[1], atol=1e-5, rtol=0)
    assert 0 < ours.last.valid.sum() < ours.last.valid.numel()
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    for name in ('backbone.conv1.weight', 'neck.projector.fc0.weight', 'head.predictor.fc1.weight'):
        mine, other = (dict(m.named_parameters())[name].grad for m in (ours, theirs))
        torch.testing.assert_close(mine, other, atol=2e-4 * float(other.abs().max()), rtol=1e-3)
    for mine, other in zip(ours.target.parameters(), theirs.target.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_published_lars_equals_ours():
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    other = copy.deepcopy(net)
    ours = training.build_optimizer(net)
    theirs = reference_r2o.PublishedLARS(list(other.parameters()), ours.param_groups[0]['lr'])
    for _ in range(3):
        x = torch.randn(8, 4)
        for model, optimizer in ((net, ours), (other, theirs)):
            optimizer.zero_grad()
            model(x).pow(3).mean().backward()
            optimizer.step()
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_baselines_train_one_set_of_networks():
    """A step of DetCon moves R2O's weights and target; it has no networks of its own."""
    inputs, batch, _ = training.make_batch(2, segments=8)
    r2o = training.build_model(depth=18, num_clusters=None)
    detcon = training.build_model(baselines.DETCON['DetCon_B'], 18)
    baselines.share_networks(detcon, r2o, mlps=True)
    assert {id(p) for p in detcon.parameters()} == {id(p) for p in r2o.parameters()}
    optimizer = training.build_optimizer(r2o)
    before = {k: v.clone() for k, v in r2o.state_dict().items()}
    training.Step(detcon, optimizer, inputs[:2], batch)()
    changed = {k for k, v in r2o.state_dict().items() if not torch.equal(v, before[k])}
    moving = ('backbone.conv1', 'target.backbone.conv1', 'head.predictor.fc1', 'neck.projector.fc0')
    assert changed >= {f'{name}.weight' for name in moving}
    seen = []
    r2o.neck.register_forward_pre_hook(lambda m, args: seen.append(len(args[0])))
    for joined, sizes in ((True, [4]), (False, [2, 2])):
        seen.clear()
        training.Step(r2o, optimizer, inputs, batch, joined=joined)()
        assert seen == sizes


def test_dino_and_the_published_step_are_one_training():
    """After a few steps on one batch losses are still equal; guided ones are not."""
    losses = {}
    for guided in (False, True):
        torch.manual_seed(0)
        crops, samples = dino.make_inputs(2, 64, 'cpu')
        theirs = reference_dino.PublishedStep(crops, 128, size=64, dim=48, depth=2)
        model = dino.build(True, 'cpu')
        assert dino.copy_weights(model, theirs, crops) < 1e-5
        step = dino.DINOStep(model, crops, samples)
        for _ in range(3):
            step(guided)
            theirs()
        with torch.no_grad():
            losses[guided] = model(crops, mode='loss')['loss'].item(), theirs.loss().item()
    mine, its = losses[False]
    assert mine == pytest.approx(its, rel=1e-3)
    assert losses[True][0] != mine


def test_registration_of_phantoms(tmp_path):
    pytest.importorskip('SimpleITK')
    options = ['--clock', 'process', '--set', 'bspline_iterations=2']
    found, figures = quick_run(tmp_path, 'registration', *options)
    assert found['settings']['data'].startswith('PHANTOMS')
    assert figures['seconds an image: tuned']['target'] == 0.5
    parts = ('left_lung', 'right_lung', 'heart')
    assert {f'Dice of {part}, tuned - defaults' for part in parts} <= set(figures)
    results = found['details']['results']
    changed = 'tuned, bspline_iterations 2'
    assert set(results) == {'no registration', 'Elastix defaults', 'tuned', changed}
    settings = found['details']['settings']
    assert settings[changed] == dict(settings['tuned'], bspline_iterations=2)
    assert np.shape(results['tuned']['dice']) == (2, 3)
    assert np.mean(results['tuned']['dice']) > np.mean(results['no registration']['dice'])


def test_registration_without_jsrt_is_skipped(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('ORL_CXR', str(tmp_path))
    assert benchmark.main(['registration']) == 0
    printed = capsys.readouterr().out
    assert f'SKIPPED: there is no JSRT at {tmp_path}' in printed
    assert '--data DIR' in printed


@slow
def test_registration_of_jsrt(shared_data, tmp_path):
    """Three images: the tuned settings are faster than the defaults and at least as good."""
    file = tmp_path / 'figures.json'
    root = str(shared_data / 'cxr' / 'jsrt')
    options = ['--data', root, '--batch', '3', '--clock', 'process', '--json', str(file)]
    benchmark.main(['registration', *options])
    results = json.loads(file.read_text())['details']['results']
    tuned, defaults = results['tuned'], results['Elastix defaults']
    assert np.mean(tuned['seconds']) < 0.5 * np.mean(defaults['seconds'])
    assert np.mean(tuned['dice']) > np.mean(defaults['dice']) - 0.01


@slow
def test_gpu_runs_each_part(tmp_path):
    """On a CPU with tiny sizes; parts that fail would be noted in the details."""
    parts = ['graph', 'waits', 'throughput', 'vit', 'gaps']
    found, figures = quick_run(tmp_path, 'gpu', '--parts', *parts)
    assert not [key for key in found['details'] if 'failed' in key]
    assert figures['cells of one cluster, graph and eager']['value'] == 1
    assert figures['MeDINO, ViT-S/16, bf16']['value'] > 0


@slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='the stand-in needs g++')
def test_launches_of_one_method(tmp_path):
    _, figures = quick_run(tmp_path, 'launches', '--methods', 'MeDINO', '--batch', '2')
    assert figures['waits, MeDINO, 128 ranks']['value'] == 0
    assert figures['operators, MeDINO, 1 rank']['value'] > 1000
