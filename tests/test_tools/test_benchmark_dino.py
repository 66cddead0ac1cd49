"""The benchmark of DINO: that it reports, and that both of its sides are the same training."""

import importlib.util
import json
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


@pytest.mark.parametrize('name', ['dino', 'attention'])
def test_quick_run_writes_json(benchmark, name, tmp_path, capsys):
    file = tmp_path / 'figures.json'
    assert benchmark.main([name, '--quick', '--rounds', '1', '--json', str(file)]) == 0
    figures = {f['name']: f for f in json.loads(file.read_text())['figures']}
    assert {'AttentionRegHook on / off', 'this step / the published one'} <= set(figures)
    (same,) = [f for n, f in figures.items() if n.startswith('loss on the same weights')]
    assert same['met']


def test_both_sides_are_one_training(benchmark):
    """After a few steps on one batch, losses are still equal; guided ones are not."""
    from _bench.dino import DINOStep, _same_weights, build, make_inputs
    from _bench.published_dino import PublishedStep

    losses = {}
    for guided in (False, True):
        torch.manual_seed(0)
        crops, samples = make_inputs(2, 64, 'cpu')
        theirs = PublishedStep(crops, 128, size=64, dim=48, depth=2)
        model = build(True, 'cpu')
        assert _same_weights(model, theirs, crops) < 1e-5
        step = DINOStep(model, crops, samples)
        for _ in range(3):
            step(guided)
            theirs()
        with torch.no_grad():
            losses[guided] = model(crops, mode='loss')['loss'].item(), theirs.loss().item()
    mine, its = losses[False]
    assert mine == pytest.approx(its, rel=1e-3)
    assert losses[True][0] != mine


def test_lightly_is_measured_where_it_is_installed(benchmark):
    """Its step trains: the loss of a batch falls. Needs `pip install lightly`."""
    pytest.importorskip('lightly')
    from _bench.dino import make_inputs
    from _bench.lightly_dino import lightly_step

    torch.manual_seed(0)
    step = lightly_step(make_inputs(2, 64, 'cpu')[0], 128, dim=48, depth=2)

    def loss():
        with torch.no_grad():
            views = [step.student(x) for x in step.crops]
            return step.loss([step.teacher(x) for x in step.crops], views, teacher_temp=0.04).item()

    before = loss()
    for _ in range(8):
        step()
    assert loss() < before
