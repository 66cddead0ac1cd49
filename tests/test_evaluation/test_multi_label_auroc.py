import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS
from mmpretrain.structures import DataSample
from sklearn.metrics import roc_auc_score

from orl_mm.evaluation import MultiLabelAUROC
from orl_mm.evaluation.bootstrap import resample_patients
from orl_mm.evaluation.multi_label_auroc import resampled_auroc

NAN = float('nan')
CLASSES = ('Edema', 'No Finding', 'Consolidation')


def samples(scores, truth, patients=None):
    out = []
    for i, (score, label) in enumerate(zip(scores, truth, strict=False)):
        item = DataSample().set_pred_score(torch.tensor(score)).set_gt_score(torch.tensor(label))
        if patients is not None:
            item.set_metainfo(dict(patient=patients[i]))
        out.append(item)
    return out


def evaluate(items, classes=CLASSES, **options):
    evaluator = Evaluator(dict(type='orl_mm.MultiLabelAUROC', **options))
    evaluator.dataset_meta = dict(classes=classes)
    evaluator.process(items)
    return evaluator.evaluate(len(items))


def drawn(n=40, seed=0):
    draw = np.random.default_rng(seed)
    truth = (draw.random((n, 3)) < (0.3, 0.5, 0.7)).astype(np.float32)
    scores = np.round(0.4 * truth + draw.random((n, 3)), 1)  # rounded: ties
    return scores.astype(np.float32), truth


def test_a_value_by_hand():
    """Positives .8 and .4 against negatives .6, .4, .1: 3 + 1.5 of 6 pairs."""
    scores = [[0.8], [0.4], [0.6], [0.4], [0.1]]
    truth = [[1.0], [1.0], [0.0], [0.0], [0.0]]
    metrics = evaluate(samples(scores, truth), ['a'], resamples=0)
    assert metrics['auroc/a'] == metrics['auroc/mean'] == pytest.approx(4.5 / 6)
    assert metrics['auroc/images'] == 5
    assert metrics['auroc/a_positives'] == 2
    assert not any('low' in key for key in metrics)


def test_equals_scikit_learn_and_unknown_labels_are_left_out():
    scores, truth = drawn()
    truth[::3, 1] = NAN
    metrics = evaluate(samples(scores, truth))
    expected = []
    for c, name in enumerate(CLASSES):
        known = ~np.isnan(truth[:, c])
        expected.append(roc_auc_score(truth[known, c], scores[known, c]))
        assert metrics[f'auroc/{name}'] == pytest.approx(expected[-1], abs=1e-12)
        assert metrics[f'auroc/{name}_images'] == known.sum()
        assert metrics[f'auroc/{name}_low'] < expected[-1] < metrics[f'auroc/{name}_high']
    assert metrics['auroc/mean'] == pytest.approx(np.mean(expected), abs=1e-12)
    assert metrics['auroc/patients'] == 40


@pytest.mark.parametrize(('value', 'what'), [(0.0, 'only 0'), (1.0, 'only 1'), (NAN, 'no label')])
def test_a_class_of_one_value_is_skipped_by_name(monkeypatch, value, what):
    said = []
    monkeypatch.setattr(
        'orl_mm.evaluation.multi_label_auroc.print_log', lambda text, **_: said.append(text)
    )
    scores, truth = drawn()
    truth[:, 1] = value
    metrics = evaluate(samples(scores, truth), resamples=20)
    assert 'auroc/No Finding' not in metrics
    assert metrics['auroc/classes'] == 2
    assert metrics['auroc/mean'] == pytest.approx(
        np.mean([metrics['auroc/Edema'], metrics['auroc/Consolidation']]), abs=1e-12
    )
    assert any(text.startswith(f'No Finding has {what}') for text in said)


def test_no_class_at_all():
    scores, truth = drawn()
    metrics = evaluate(samples(scores, np.zeros_like(truth)), resamples=10)
    assert metrics['auroc/classes'] == 0
    assert 'auroc/mean' not in metrics


def test_resamples_equal_scikit_learn_with_weights():
    scores, truth = drawn()
    counts = resample_patients(range(40), 30)
    found = resampled_auroc(truth[:, 0], scores[:, 0], counts)
    expected = [roc_auc_score(truth[:, 0], scores[:, 0], sample_weight=n) for n in counts]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    alone = truth[:, 0][None]  # a resample of positive images alone
    assert np.isnan(resampled_auroc(truth[:, 0], scores[:, 0], alone.astype(int)))


def test_interval_is_that_of_resampled_patients():
    scores, truth = drawn()
    patients = [f'p{i // 2}' for i in range(40)]  # two images each
    metrics = evaluate(samples(scores, truth, patients), resamples=60, seed=4, level=0.8)
    assert metrics['auroc/patients'] == 20
    values = []
    for n in resample_patients(patients, 60, seed=4):
        rows = np.repeat(np.arange(40), n)
        values.append(np.mean([roc_auc_score(truth[rows, c], scores[rows, c]) for c in range(3)]))
    np.testing.assert_allclose(
        [metrics['auroc/mean_low'], metrics['auroc/mean_high']],
        np.percentile(values, [10, 90]),
        atol=1e-12,
    )


def test_chunks_of_resamples_join(monkeypatch):
    scores, truth = drawn()
    counts = resample_patients(range(40), 25)
    whole = resampled_auroc(truth[:, 0], scores[:, 0], counts)
    monkeypatch.setattr('orl_mm.evaluation.multi_label_auroc.CHUNK', 160)
    np.testing.assert_array_equal(resampled_auroc(truth[:, 0], scores[:, 0], counts), whole)
    assert len(whole) == 25


def test_bad_options_and_samples():
    assert METRICS.get('orl_mm.MultiLabelAUROC') is MultiLabelAUROC
    for options in (dict(resamples=-1), dict(level=1.0)):
        with pytest.raises(ValueError, match='resamples'):
            MultiLabelAUROC(**options)
    with pytest.raises(ValueError, match=r"lacks \['pred_score', 'gt_score'\].*LinearProbe"):
        MultiLabelAUROC().process(None, [{}])
    scores, truth = drawn()
    with pytest.raises(ValueError, match='0, 1 or NaN.*-1'):
        evaluate(samples(scores, truth - 1))
    with pytest.raises(ValueError, match='diverged'):
        evaluate(samples(scores * NAN, truth))
