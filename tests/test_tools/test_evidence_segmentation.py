"""mIoU with intervals: against mmseg's own number, and by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

from orl_mm.evaluation.bootstrap import mean_of_resampled_seeds

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))
from _evidence import tables  # noqa: E402
from _evidence.segmentation import (
    Areas,
    image_weights,
    resampled_miou,  # noqa: E402
    resampled_objects,
    summary,
)


@pytest.fixture(scope='module')
def maps():
    """Truth and predictions of six images, classes 0 to 4; class 3 occurs nowhere."""
    draw = np.random.default_rng(0)
    truth = draw.choice([0, 1, 2, 4, 255], (6, 8, 9))
    return truth, np.where(
        draw.random(truth.shape) < 0.6, truth % 255, draw.choice([0, 1, 2, 4], truth.shape)
    )


def areas(maps):
    truth, pred = (m.reshape(6, -1) for m in maps)
    keep = truth != 255
    both = [
        [(((t == c) & (p == c) & k).sum(), (((t == c) | (p == c)) & k).sum()) for c in range(5)]
        for t, p, k in zip(truth, pred, keep, strict=False)
    ]
    both = np.array(both, float)
    return Areas(both[..., 0], both[..., 1])


def test_equals_mmseg(maps):
    import torch

    mmseg = pytest.importorskip('mmseg.evaluation')
    metric = mmseg.IoUMetric()
    metric.dataset_meta = dict(classes=list('abcde'))
    for truth, pred in zip(*(torch.from_numpy(m) for m in maps), strict=False):
        metric.results.append(metric.intersect_and_union(pred, truth, 5, 255))
    kept = list(metric.results)
    want = metric.compute_metrics(kept)['mIoU']
    got = areas(maps)
    assert np.array_equal(np.stack([np.asarray(r[0]) for r in kept]), got.intersect)
    assert np.array_equal(np.stack([np.asarray(r[1]) for r in kept]), got.union)
    assert 100 * resampled_miou(got, np.ones((1, 6)))[0] == pytest.approx(want, abs=0.006)


def test_a_resample_is_the_score_of_its_images(maps):
    got = areas(maps)
    counts = np.array([[2, 0, 0, 1, 0, 0]])
    truth, pred = (m[[0, 0, 3]] for m in maps)
    ious = []
    for c in range(5):
        one, two = (truth == c), (pred == c) & (truth != 255)
        if (one | two).any():
            ious.append((one & two).sum() / (one | two).sum())
    assert resampled_miou(got, counts)[0] == pytest.approx(np.mean(ious))


def test_summary(maps):
    good = areas(maps)
    bad = Areas(good.intersect / 2, good.union)
    alone = summary([good, bad])
    assert alone['mean'] == pytest.approx(np.mean(alone['seeds']))
    assert alone['seeds'][0] == pytest.approx(2 * alone['seeds'][1])
    assert alone['low'] < alone['mean'] < alone['high']
    assert 'difference' not in alone
    beside = summary([good], [bad])
    assert beside['difference'] == pytest.approx(beside['mean'] / 2)
    # Paired: half of each resample, so nearer to its mean than the score is.
    assert beside['difference_low'] == pytest.approx(beside['low'] / 2)
    assert beside['difference_high'] == pytest.approx(beside['high'] / 2)


def test_resampled_seeds():
    """Two seeds, 0 and 1: half of all draws take both. A difference takes the same seeds."""
    zero, one = np.zeros(20000), np.ones(20000)
    found = mean_of_resampled_seeds([zero, one])
    values, times = np.unique(found, return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    assert times / 20000 == pytest.approx([0.25, 0.5, 0.25], abs=0.02)
    other = mean_of_resampled_seeds([zero + 3, one + 3])
    assert np.array_equal(other - found, np.full(20000, 3.0))
    alone = np.arange(5.0)
    assert np.array_equal(mean_of_resampled_seeds([alone]), alone)


def test_spread_of_the_seeds_is_in_the_interval(maps):
    good = areas(maps)
    bad = Areas(good.intersect / 2, good.union)
    one, two = summary([good]), summary([good, bad])
    assert two['high'] - two['low'] > one['high'] - one['low']
    assert two['high'] == pytest.approx(one['high'], rel=0.05)  # the better seed alone
    with pytest.raises(ValueError, match='seed by seed'):
        summary([good, bad], [good])
    # A reference that follows each seed differs from it by nothing, whichever seeds are drawn.
    same = summary([good, bad], [good, bad])
    assert (same['difference_low'], same['difference_high']) == pytest.approx((0, 0))
    # One that does not: the seeds' spread is in the difference, too.
    turned = summary([good, bad], [bad, good])
    assert turned['difference'] == pytest.approx(0)
    quarter = one['mean'] / 4  # bad has half of it
    assert turned['difference_low'] < -quarter
    assert turned['difference_high'] > quarter


def test_objects_are_whatever_is_no_background(maps):
    truth, pred = maps
    inside = truth != 255
    both = ((truth > 0) & (pred > 0) & inside).sum()
    either = (((truth > 0) | (pred > 0)) & inside).sum()
    got = resampled_objects(areas(maps), np.ones((1, 6)))
    assert got == pytest.approx(both / either)


def test_interval_of_a_network_that_says_background_is_centred():
    """Ten classes of one image each: their number must not change with the resample."""
    union = np.zeros((20, 11))
    union[:, 0] = 100
    union[range(10), range(1, 11)] = 30
    intersect = np.zeros_like(union)
    intersect[:, 0] = 85
    found = summary([Areas(intersect, union)])
    assert found['mean'] == pytest.approx(85 / 11)
    assert found['low'] == pytest.approx(85 / 11)
    assert found['high'] == pytest.approx(85 / 11)
    weights = image_weights(20, 50)
    assert weights.min() > 0
    assert weights.sum(1) == pytest.approx(np.full(50, 20))


def test_table_has_the_transfers_that_were_run(maps, tmp_path):
    good = areas(maps)
    files = {}
    for key, part in (('byol', 2), ('r2o', 1)):
        files[key] = {'linear': [tmp_path / f'{key}.npz']}
        tables.write_areas(files[key]['linear'][0], Areas(good.intersect / part, good.union), 0.0)
    (tmp_path / 'effective_rank.txt').write_text('12.34\n')
    table = tables.build('2.3', files, 'tools/evidence.py 2.3 --transfers linear', [0])
    text = tables.write(table, tmp_path)
    head, _, byol, r2o = (line.split(' | ') for line in text.splitlines()[:4])
    assert head[1] == 'VOC mIoU, linear'
    assert 'fine-tuned' not in text
    assert [float(row[2]) for row in (byol, r2o)] == pytest.approx(
        [summary([good])['mean'] / 2, summary([good])['mean']], abs=0.06
    )
    assert r2o[3].startswith(f'+{summary([good])["mean"] / 2:.1f} [')
    assert r2o[-1] == '12.3 |'
    assert (tmp_path / 'table23_small.png').stat().st_size > 1000
