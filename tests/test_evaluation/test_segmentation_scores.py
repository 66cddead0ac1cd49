"""mIoU with intervals: against mmseg's own number, and by hand."""

import numpy as np
import pytest

from orl_mm.evaluation.segmentation_scores import (
    Areas,
    areas_of,
    resampled_miou,
    resampled_object_iou,
    segmentation_summary,
)


@pytest.fixture(scope='module')
def maps():
    """Truth and predictions of six images, classes 0 to 4; class 3 occurs nowhere."""
    draw = np.random.default_rng(0)
    truth = draw.choice([0, 1, 2, 4, 255], (6, 8, 9))
    noise = draw.choice([0, 1, 2, 4], truth.shape)
    return truth, np.where(draw.random(truth.shape) < 0.6, truth % 255, noise)


@pytest.fixture(scope='module')
def areas(maps):
    """Counted class by class and image by image, in the form of a ``result.json``."""
    images = []
    for truth, pred in zip(*maps, strict=True):
        keep = truth != 255
        pairs = {
            str(c): [
                int(((truth == c) & (pred == c) & keep).sum()),
                int((((truth == c) | (pred == c)) & keep).sum()),
            ]
            for c in range(5)
        }
        images.append({c: pair for c, pair in pairs.items() if pair[1]})
    return areas_of(images, 5)


def test_equals_mmseg(maps, areas):
    import torch

    mmseg = pytest.importorskip('mmseg.evaluation')
    metric = mmseg.IoUMetric()
    metric.dataset_meta = dict(classes=list('abcde'))
    for truth, pred in zip(*(torch.from_numpy(m) for m in maps), strict=True):
        metric.results.append(metric.intersect_and_union(pred, truth, 5, 255))
    kept = list(metric.results)
    want = metric.compute_metrics(kept)['mIoU']
    assert np.array_equal(np.stack([np.asarray(r[0]) for r in kept]), areas.intersect)
    assert np.array_equal(np.stack([np.asarray(r[1]) for r in kept]), areas.union)
    assert 100 * resampled_miou(areas, np.ones((1, 6)))[0] == pytest.approx(want, abs=0.006)


def test_resample_is_the_score_of_its_images(maps, areas):
    truth, pred = (m[[0, 0, 3]] for m in maps)
    ious = []
    for c in range(5):
        one, two = (truth == c), (pred == c) & (truth != 255)
        if (one | two).any():
            ious.append((one & two).sum() / (one | two).sum())
    counts = np.array([[2, 0, 0, 1, 0, 0]])
    assert resampled_miou(areas, counts)[0] == pytest.approx(np.mean(ious))
    inside = truth != 255
    both = ((truth > 0) & (pred > 0) & inside).sum()
    either = (((truth > 0) | (pred > 0)) & inside).sum()
    assert resampled_object_iou(areas, counts) == pytest.approx(both / either)


def test_summary_of_seeds(areas):
    bad = Areas(areas.intersect / 2, areas.union)
    one, two = segmentation_summary([areas]), segmentation_summary([areas, bad])
    assert two['mean'] == pytest.approx(np.mean(two['seeds']))
    assert two['seeds'][0] == pytest.approx(2 * two['seeds'][1])
    assert two['low'] < two['mean'] < two['high']
    assert 'difference' not in two
    # The spread of the seeds is in the interval; its upper end is that of the better seed.
    assert two['high'] - two['low'] > one['high'] - one['low']
    assert two['high'] == pytest.approx(one['high'], rel=0.05)
    beside = segmentation_summary([areas], [bad])
    for key in ('', '_low', '_high'):  # paired: half of each resample
        score = beside[key[1:] or 'mean']
        assert beside[f'difference{key}'] == pytest.approx(score / 2)


def test_interval_of_constant_predictions_has_no_width():
    """Ten classes of one image each: the number of classes must not change in resamples."""
    union = np.zeros((20, 11))
    union[:, 0] = 100
    union[range(10), range(1, 11)] = 30
    intersect = np.zeros_like(union)
    intersect[:, 0] = 85
    found = segmentation_summary([Areas(intersect, union)])
    assert [found[key] for key in ('mean', 'low', 'high')] == pytest.approx([85 / 11] * 3)
