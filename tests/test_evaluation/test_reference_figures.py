"""Figures known beforehand for the real X-rays: the average template itself, the grid's ceiling."""

import pytest
import torch

from orl_mm.datasets import ChestXRayParts
from orl_mm.evaluation import AttentionAP
from orl_mm.evaluation.attention_scores import on_grid

GRID = (14, 14)
PARTS = ('left_lung', 'right_lung', 'heart')


def samples(root, name, **options):
    return list(
        ChestXRayParts(
            str(root / 'cxr' / name), pipeline=[dict(type='orl_mm.LoadParts')], **options
        )
    )


@pytest.fixture(scope='module')
def average(shared_data):
    """Of the 150 masks that may train a segmenter, on the patch grid."""
    masks = [
        s['part_masks']
        for s in samples(shared_data, 'jsrt', list_file='jsrt_segmenter', parts=PARTS)
    ]
    assert len(masks) == 150
    return on_grid(torch.stack(masks).float().mean(0), GRID)


def score(items, maps_of):
    metric = AttentionAP(heads=dict(enumerate(items[0]['parts'])), resamples=0)
    metric.process(None, [dict(item, attention=torch.as_tensor(maps_of(item))) for item in items])
    found = metric.evaluate(len(items))
    return [
        round(found[f'attention_ap/{part}'], 3) for part in PARTS if f'attention_ap/{part}' in found
    ]


def test_jsrt(shared_data, average):
    items = samples(shared_data, 'jsrt', list_file='jsrt_score', parts=PARTS)
    assert len(items) == 47
    assert score(items, lambda item: average) == pytest.approx([0.890, 0.921, 0.835], abs=1e-3)
    ceiling = score(items, lambda item: on_grid(item['part_masks'], GRID))
    assert ceiling == pytest.approx([0.960, 0.972, 0.964], abs=1e-3)


def test_montgomery(shared_data, average):
    items = samples(shared_data, 'montgomery')
    assert len(items) == 110
    assert score(items, lambda item: average) == pytest.approx([0.757, 0.794], abs=1e-3)
    ceiling = score(items, lambda item: on_grid(item['part_masks'], GRID))
    assert ceiling == pytest.approx([0.947, 0.958], abs=1e-3)
