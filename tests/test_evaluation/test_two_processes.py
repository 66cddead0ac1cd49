"""Evaluation and features of two processes are those of one, also where images do not divide."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from tests.ranks import run_ranks

LENGTH = 5


def work(rank=0, world=1):
    """Metrics of both kinds as a test loop collects them, and features as the hook gathers them."""
    from mmengine.dataset import DefaultSampler
    from mmengine.evaluator import Evaluator
    from mmengine.runner import Runner

    from orl_mm.engine.hooks.frozen_features_hook import frozen_features
    from orl_mm.registry import MODELS
    from tests.test_engine.test_frozen_features_hook import PROBE, Labeled, loader
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
    data = frozen_features(runner, Runner.build_dataloader(loader(Labeled(LENGTH), 2)))
    labels = torch.stack([item.gt_score for item in data.samples])
    return found, data.features, labels, [item.patient for item in data.samples]


@pytest.fixture(scope='module')
def runs():
    return work(), run_ranks(work)


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
