"""The benchmark of the baselines: that it reports, and that its sides train the same networks."""

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


@pytest.mark.slow
def test_quick_run_writes_json(benchmark, tmp_path, monkeypatch):
    monkeypatch.delenv('ORL_DATA', raising=False)
    file = tmp_path / 'figures.json'
    assert benchmark.main(['baselines', '--quick', '--rounds', '1', '--json', str(file)]) == 0
    found = json.loads(file.read_text())
    targets = {f['name']: f['target'] for f in found['figures']}
    assert targets.pop('PixPro / BYOL') == 1.2
    assert len(targets) == 4
    assert all(name.startswith('DetCon_B') and target == 1.05 for name, target in targets.items())
    assert all(math.isfinite(f['value']) and f['value'] > 0 for f in found['figures'])
    assert found['benchmark'] == 'baselines'
    assert set(found['details']) == {'seconds'}


def test_sides_train_one_set_of_networks(benchmark):
    """A step of DetCon moves R2O's weights and target, and nothing of its own is left."""
    from _bench.baselines import (
        DETCON,
        TwoViewStep,
        UnclusteredStep,
        build,
        share_networks,
        with_felzenszwalb,
    )
    from _bench.batches import make_batch
    from _bench.steps import build_model, build_optimizer

    inputs, slic, _ = make_batch(2, segments=8)
    batch = with_felzenszwalb(inputs[2], slic)
    assert torch.equal(batch.views, slic.views)
    assert batch.labels.shape == slic.labels.shape
    r2o = build_model(18, None)
    detcon = share_networks(build(DETCON['DetCon_B'], 18), r2o, mlps=True)
    assert {id(p) for p in detcon.parameters()} == {id(p) for p in r2o.parameters()}
    optimizer = build_optimizer(r2o)
    before = {k: v.clone() for k, v in r2o.state_dict().items()}
    TwoViewStep(detcon, optimizer, inputs, slic)()
    changed = {k for k, v in r2o.state_dict().items() if not torch.equal(v, before[k])}
    for key in (
        'backbone.conv1.weight',
        'target.backbone.conv1.weight',
        'head.predictor.fc1.weight',
        'neck.projector.fc0.weight',
    ):
        assert key in changed
    seen = []
    r2o.neck.register_forward_pre_hook(lambda m, args: seen.append(len(args[0])))
    for joined, sizes in ((True, [4]), (False, [2, 2])):
        seen.clear()
        UnclusteredStep(r2o, optimizer, inputs, batch, joined=joined)()
        assert seen == sizes
