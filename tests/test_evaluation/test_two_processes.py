"""Evaluation and features of two processes are those of one, also where images do not divide."""

import os
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.distributed as dist

ROOT = Path(__file__).parents[2]
LENGTH = 5
pytestmark = pytest.mark.slow


def work():
    """Metrics of both kinds as a test loop collects them, and features as the hook gathers them."""
    from mmengine.dataset import DefaultSampler
    from mmengine.evaluator import Evaluator
    from mmengine.runner import Runner

    from orl_mm.engine.hooks.frozen_features_hook import frozen_features
    from orl_mm.registry import MODELS
    from tests.test_engine.test_frozen_features_hook import PROBE, Labelled, loader
    from tests.test_evaluation.test_attention_ap import sample
    from tests.test_evaluation.test_multi_label_auroc import drawn, samples

    found = {}
    scores, truth = drawn(LENGTH, seed=1)
    for name, items in (
        ('AttentionAP', [sample(i, patient=f'p{i // 2}') for i in range(LENGTH)]),
        ('MultiLabelAUROC', samples(scores, truth)),
    ):
        evaluator = Evaluator(dict(type=f'orl_mm.{name}', resamples=50))
        evaluator.dataset_meta = {}
        for i in DefaultSampler(items, shuffle=False, seed=0):
            evaluator.process([items[i]])
        found.update(evaluator.evaluate(LENGTH))
    torch.manual_seed(0)
    runner = SimpleNamespace(
        model=MODELS.build(PROBE),
        optim_wrapper=SimpleNamespace(optim_context=lambda model: nullcontext()),
    )
    data = frozen_features(runner, Runner.build_dataloader(loader(Labelled(LENGTH), 2)))
    labels = torch.stack([item.gt_score for item in data.samples])
    return found, data.features, labels, [item.patient for item in data.samples]


def launch(folder):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    env = dict(
        os.environ,
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        OMP_NUM_THREADS='1',
        PYTHONPATH=str(ROOT),
    )
    jobs = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder / f'{r}.pth')],
            env={**env, 'RANK': str(r)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in range(2)
    ]
    for job in jobs:
        _, error = job.communicate(timeout=240)
        assert job.returncode == 0, error[-3000:]
    return [torch.load(folder / f'{r}.pth', weights_only=True) for r in range(2)]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    return work(), launch(tmp_path_factory.mktemp('two'))


def test_metrics_are_those_of_one_process(runs):
    one, two = runs
    assert one[0]['attention_ap/images'] == one[0]['auroc/images'] == LENGTH
    for other in two:  # both processes have them
        assert other[0] == pytest.approx(one[0], nan_ok=True, abs=1e-9)


def test_every_process_holds_all_features_in_order(runs):
    (_, features, labels, patients), two = runs
    assert features.shape == (LENGTH, 24)
    assert features.std() > 0.1
    assert patients == ['p0', 'p0', 'p1', 'p1', 'p2']
    for _, mine, its_labels, its_patients in two:
        torch.testing.assert_close(mine, features, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(its_labels, labels, equal_nan=True)
        assert its_patients == patients


if __name__ == '__main__':
    import orl_mm  # noqa: F401

    torch.set_num_threads(1)
    # This folder, as under pytest, not the `tests` of some installed package.
    sys.modules['tests'] = ModuleType('tests')
    sys.modules['tests'].__path__ = [str(ROOT / 'tests')]
    dist.init_process_group('gloo')
    torch.save(work(), sys.argv[1])
