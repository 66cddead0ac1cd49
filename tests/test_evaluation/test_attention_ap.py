"""AttentionAP on maps whose scores are known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS
from mmpretrain.structures import DataSample
from sklearn.metrics import average_precision_score

from orl_mm.evaluation import AttentionAP

PARTS, HEADS, GRID, SIZE = ('left', 'right', 'heart'), 4, 4, (24, 30)


def sample(i, parts=PARTS, heads=HEADS, patient=None, empty=()):
    """Random maps and masks; head r + 1 sees part r with some noise."""
    generator = torch.Generator().manual_seed(i)
    masks = torch.zeros(len(parts), *SIZE, dtype=torch.uint8)
    for r, part in enumerate(parts):
        y, x = torch.randint(0, 12, (2,), generator=generator).tolist()
        if part not in empty:
            masks[r, y : y + 11, x + 2 : x + 15] = 1
    maps = torch.rand(heads, GRID, GRID, generator=generator)
    for r in range(min(len(parts), heads - 1)):
        maps[r + 1] += 1.5 * F.adaptive_avg_pool2d(masks[r][None].float(), GRID)[0]
    item = DataSample()
    item.set_field(maps, 'attention')
    item.set_field(masks, 'part_masks')
    item.set_metainfo(dict(id=f'x{i}', patient=patient or f'p{i}', parts=parts))
    return item


def evaluate(samples, **options):
    """Through mmengine's Evaluator, as a test loop does."""
    evaluator = Evaluator(dict(type='orl_mm.AttentionAP', **options))
    metric = evaluator.metrics[0]
    for i in range(0, len(samples), 2):
        evaluator.process(samples[i : i + 2])
    return evaluator.evaluate(len(samples)), metric


def on_pixels(samples, part, head):
    """scikit-learn's of each image, and of all pixels together."""
    pairs = []
    for item in samples:
        if part in item.parts:
            mask = item.part_masks[item.parts.index(part)].numpy().ravel()
            score = F.interpolate(item.attention[None], SIZE, mode='nearest')[0, head]
            pairs.append((mask, score.numpy().ravel()))
    pairs = [pair for pair in pairs if pair[0].any()]
    each = [average_precision_score(*pair) for pair in pairs]
    return each, average_precision_score(*map(np.concatenate, zip(*pairs, strict=False)))


def test_is_registered():
    assert METRICS.get('orl_mm.AttentionAP') is AttentionAP


def test_assigned_heads_mean_and_pooled():
    samples = [sample(i) for i in range(7)]
    metrics, metric = evaluate(samples, heads={1: 'left', '2': 'right', 0: 'heart'}, resamples=0)
    means = []
    for part, head in (('left', 1), ('right', 2), ('heart', 0)):
        each, pooled = on_pixels(samples, part, head)
        assert metrics[f'attention_ap/{part}'] == pytest.approx(np.mean(each), abs=1e-12)
        assert metrics[f'attention_ap/{part}_pooled'] == pytest.approx(pooled, abs=1e-12)
        assert metrics[f'attention_ap/{part}_head'] == head
        assert metric.details[part] == pytest.approx(
            {f'x{i}': ap for i, ap in enumerate(each)}, abs=1e-12
        )
        means.append(np.mean(each))
    assert metrics['attention_ap/mean'] == pytest.approx(np.mean(means), abs=1e-12)
    assert not any('_low' in key for key in metrics)


def test_stored_heads_and_the_best_for_the_others():
    """The checkpoint names a poor head for one part; the others take their best."""
    samples = [sample(i) for i in range(6)]
    metric = AttentionAP(resamples=0)
    metric.stored_heads = {0: 'left', 3: 'liver'}
    metric.process(None, [item.to_dict() for item in samples])
    metrics = metric.evaluate(6)
    assert [metrics[f'attention_ap/{p}_head'] for p in PARTS] == [0, 2, 3]
    for part, head in zip(PARTS, (0, 2, 3), strict=False):
        assert metrics[f'attention_ap/{part}'] == pytest.approx(
            np.mean(on_pixels(samples, part, head)[0]), abs=1e-12
        )
    metric = AttentionAP(heads='best', resamples=0)
    metric.stored_heads = {0: 'left'}
    metric.process(None, [item.to_dict() for item in samples])
    assert metric.evaluate(6)['attention_ap/left_head'] == 1


def test_best_head_of_each_image():
    samples = [sample(i) for i in range(6)]
    for item in samples[::2]:  # head and part exchanged in every other image
        item.attention[[1, 2]] = item.attention[[2, 1]]
    metrics, _ = evaluate(samples, unassigned='best_per_image', resamples=20)
    scores = [[on_pixels([item], 'left', head)[1] for head in range(HEADS)] for item in samples]
    chosen = np.argmax(scores, 1)
    assert len(set(chosen)) > 1
    assert metrics['attention_ap/left'] == pytest.approx(np.max(scores, 1).mean(), abs=1e-12)
    assert metrics['attention_ap/left_head'] == -1
    alone = [
        DataSample(
            part_masks=item.part_masks, attention=item.attention[[head]], metainfo=item.metainfo
        )
        for item, head in zip(samples, chosen, strict=False)
    ]
    assert metrics['attention_ap/left_pooled'] == pytest.approx(
        on_pixels(alone, 'left', 0)[1], abs=1e-12
    )


def test_a_part_that_the_data_lack_is_absent_and_some_images_may_lack_it():
    samples = [sample(i, PARTS[:2]) for i in range(4)]
    metrics, _ = evaluate(samples, heads={1: 'left', 2: 'right', 3: 'heart'}, resamples=10)
    assert not any('heart' in key for key in metrics)
    both = np.mean([metrics['attention_ap/left'], metrics['attention_ap/right']])
    assert metrics['attention_ap/mean'] == pytest.approx(both, abs=1e-12)
    samples += [sample(9)]  # an image with a heart
    metrics, _ = evaluate(samples, heads={1: 'left', 2: 'right', 3: 'heart'}, resamples=50)
    assert metrics['attention_ap/heart_images'] == 1
    assert metrics['attention_ap/images'] == 5
    assert metrics['attention_ap/heart'] == metrics['attention_ap/heart_low']


def test_empty_masks_are_left_out_and_counted(monkeypatch):
    said = []
    monkeypatch.setattr(
        'orl_mm.evaluation.attention_ap.print_log', lambda text, **_: said.append(text)
    )
    samples = [sample(0, empty=('left',)), sample(1), sample(2, empty=('left', 'right'))]
    metrics, _ = evaluate(samples, heads={1: 'left'}, resamples=0)
    assert metrics['attention_ap/left'] == pytest.approx(on_pixels(samples, 'left', 1)[1])
    assert metrics['attention_ap/left_images'] == 1
    assert '2 masks of left are empty and left out' in said


def test_constant_maps_score_the_prevalence():
    samples = [sample(i) for i in range(3)]
    for item in samples:
        item.attention[:] = 0.01
    metrics, _ = evaluate(samples, resamples=0)
    share = np.mean([item.part_masks[0].double().mean().item() for item in samples])
    assert metrics['attention_ap/left'] == pytest.approx(share, abs=1e-12)
    assert metrics['attention_ap/left_pooled'] == pytest.approx(share, abs=1e-12)
    assert metrics['attention_ap/left_prevalence'] == pytest.approx(share, abs=1e-12)
    assert metrics['attention_ap/left_coverage'] == 0


def test_intervals_equal_a_loop_over_resamples_of_patients():
    """Drawn patients' images concatenated and scored by scikit-learn, resample by resample."""
    from orl_mm.evaluation.bootstrap import resample_patients

    patients = ['a', 'b', 'a', 'c', 'd']
    samples = [sample(i, patient=p) for i, p in enumerate(patients)]
    metrics, _ = evaluate(samples, heads={1: 'left', 2: 'right', 3: 'heart'}, resamples=40, seed=5)
    means, pools = [], []
    for counts in resample_patients(patients, 40, seed=5):
        drawn = [item for item, n in zip(samples, counts, strict=False) for _ in range(n)]
        each, pooled = on_pixels(drawn, 'left', 1)
        means.append(np.mean(each))
        pools.append(pooled)
    for name, values in (('left', means), ('left_pooled', pools)):
        ends = [metrics[f'attention_ap/{name}_{end}'] for end in ('low', 'high')]
        np.testing.assert_allclose(ends, np.percentile(values, [2.5, 97.5]), atol=1e-12)
        assert ends[0] < metrics[f'attention_ap/{name}'] < ends[1]


def test_unknown_patients_are_not_one_patient():
    """Otherwise no resample would differ from another, and every interval would be a point."""
    metric = AttentionAP(resamples=20)
    metric.process(None, [dict(sample(i).to_dict(), patient=None) for i in range(4)])
    metrics = metric.evaluate(4)
    assert metric.patients == {f'x{i}': f'x{i}' for i in range(4)}
    assert metrics['attention_ap/left_low'] < metrics['attention_ap/left_high']


def test_a_head_beyond_the_network_is_an_error():
    with pytest.raises(ValueError, match=r'assigns \[4\].*4 heads, 0 to 3'):
        evaluate([sample(0)], heads={4: 'left'})
    metric = AttentionAP()
    metric.stored_heads = {7: 'left'}
    metric.process(None, [sample(0).to_dict()])
    with pytest.raises(ValueError, match=r'assigns \[7\]'):
        metric.evaluate(1)


def test_bad_options_and_samples():
    for options in (
        dict(heads='first'),
        dict(unassigned='mean'),
        dict(resamples=-1),
        dict(level=95),
    ):
        with pytest.raises(ValueError, match='heads|resamples'):
            AttentionAP(**options)
    bare = sample(0).to_dict()
    del bare['attention'], bare['parts']
    with pytest.raises(ValueError, match=r"lacks \['attention', 'parts'\].*AttentionProbe"):
        AttentionAP().process(None, [bare])
    wrong = dict(sample(0).to_dict(), parts=('left',))
    with pytest.raises(ValueError, match="image x0: .*one for each of .'left'."):
        AttentionAP().process(None, [wrong])
    with pytest.raises(ValueError, match=r'attention of \[3, 4\] heads'):
        evaluate([sample(0), sample(1, heads=3)])


def test_47_images_take_a_moment():
    """Counts, not pixels: 1024 x 1024 masks of three parts, six heads, and 1000 resamples."""
    from time import process_time  # other work on the machine does not count

    draw = torch.Generator().manual_seed(0)
    masks = torch.zeros(3, 1024, 1024, dtype=torch.uint8)
    masks[0, 100:800, 600:900] = masks[1, 100:800, 100:450] = masks[2, 500:800, 350:650] = 1
    samples = [
        dict(id=i, parts=PARTS, part_masks=masks, attention=torch.rand(6, 14, 14, generator=draw))
        for i in range(47)
    ]
    start = process_time()
    metric = AttentionAP()
    metric.process(None, samples)
    metric.evaluate(47)
    assert process_time() - start < 10  # about one second on one core
