"""Nearest neighbors among regions: the queue, the clusters, and the checkpoint."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.runner.checkpoint import load_state_dict as mmengine_load

from orl_mm.models.positives.nearest_neighbor import NearestNeighbor
from orl_mm.models.utils import RegionPairs

B, K, D = 3, 4, 5


def pairs_of(valid, **kwargs):
    masks = valid.float()[..., None, None].expand(-1, -1, 2, 2)
    return RegionPairs(masks, masks, **kwargs)


def steps(count, seed=0, rows='valid'):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        pairs = pairs_of(torch.rand(B, K, generator=generator) > 0.3, rows=rows)
        yield [torch.randn(pairs.local_rows, D, generator=generator) for _ in range(2)], pairs


@pytest.mark.parametrize('rows', ['valid', 'all'])
def test_queue_against_a_list(rows):
    """Replaced by the nearest of the last 20 regions of view 1 once there are 20."""
    module, seen, replaced = NearestNeighbor(20, D), [], 0
    for targets, pairs in steps(6, rows=rows):
        found = module(targets, pairs)
        support = torch.stack(seen[-20:]) if len(seen) >= 20 else None
        for target, positive in zip(targets, found, strict=False):
            if support is None:
                assert torch.equal(positive, target)
                continue
            for row, chosen in zip(target, positive, strict=False):
                best = max(support, key=lambda s: F.cosine_similarity(s, row, dim=0))
                torch.testing.assert_close(chosen, F.normalize(best, dim=0))
                replaced += 1
        valid = pairs.valid.flatten()
        seen += list(targets[0][valid] if rows == 'all' else targets[0])
    assert replaced > 30  # the queue turned over several times, its end inside a batch


def test_more_rows_than_the_queue_holds():
    module, (targets, pairs) = NearestNeighbor(3, D), next(steps(1))
    module(targets, pairs)
    rows = [step * len(targets[0]) // 3 for step in range(3)]
    torch.testing.assert_close(module.queue, F.normalize(targets[0][rows], dim=1))
    assert module.progress.tolist() == [3, 1]


def test_same_cluster_against_a_loop():
    module, kept, replaced = NearestNeighbor(same_cluster=True, dim=D), 0, 0
    for targets, pairs in steps(4):
        where = pairs.valid.nonzero().tolist()
        for target, positive in zip(targets, module(targets, pairs), strict=False):
            for (b, k), row, chosen in zip(where, target, positive, strict=False):
                others = [
                    t
                    for (image, cluster), t in zip(where, target, strict=False)
                    if cluster == k and image != b
                ]
                if not others:
                    assert torch.equal(chosen, row)
                    kept += 1
                else:
                    best = max(others, key=lambda s: F.cosine_similarity(s, row, dim=0))
                    torch.testing.assert_close(chosen, F.normalize(best, dim=0))
                    replaced += 1
    assert kept
    assert replaced
    assert module.queue.numel() == 0


def test_same_cluster_never_takes_an_absent_region():
    valid = torch.tensor([[True, True], [True, False]])
    pairs = pairs_of(valid, rows='all')
    target = torch.randn(4, D)
    found = NearestNeighbor(same_cluster=True)([target, target], pairs)[0]
    torch.testing.assert_close(found[0], F.normalize(target[2], dim=0))
    assert torch.equal(found[1], target[1])  # its only fellow is absent


def test_same_cluster_without_clustering_changes_nothing():
    pairs = pairs_of(torch.ones(B, K, dtype=torch.bool), clustered=False)
    target = torch.randn(B * K, D)
    assert torch.equal(NearestNeighbor(same_cluster=True)([target, target], pairs)[0], target)


def test_warmup_fills_the_queue_and_changes_nothing():
    module = NearestNeighbor(4, D, warmup=3)
    for number, (targets, pairs) in enumerate(steps(5)):
        same = torch.equal(module(targets, pairs)[0], targets[0])
        assert same == (number < 3)


@pytest.mark.parametrize('load', [lambda m, s: m.load_state_dict(s), mmengine_load])
def test_resumes_bit_for_bit(load):
    batches = list(steps(6))
    unbroken, first = NearestNeighbor(17, D, warmup=2), NearestNeighbor(17, D, warmup=2)
    for batch in batches[:3]:
        unbroken(*batch), first(*batch)
    resumed = NearestNeighbor(17, D, warmup=2)
    load(resumed, {k: v.clone() for k, v in first.state_dict().items()})
    for batch in batches[3:]:
        for one, other in zip(unbroken(*batch), resumed(*batch), strict=False):
            assert torch.equal(one, other)
    assert torch.equal(unbroken.queue, resumed.queue)


def test_no_rows():
    none = pairs_of(torch.zeros(B, K, dtype=torch.bool))
    empty = [torch.zeros(0, D)] * 2
    queue = NearestNeighbor(4, D)
    queue(*next(steps(1)))
    for module in (queue, NearestNeighbor(same_cluster=True)):
        assert [t.shape for t in module(empty, none)] == [(0, D), (0, D)]
    assert queue.progress.tolist()[1] == 2


def test_half_precision_stays_half():
    module = NearestNeighbor(4, D)
    for targets, pairs in steps(3):
        with torch.autocast('cpu', torch.bfloat16):
            found = module([t.bfloat16() for t in targets], pairs)
    assert found[0].dtype == torch.bfloat16
    assert module.queue.dtype == torch.float32


@pytest.mark.parametrize(
    ('bad', 'name'), [(dict(queue_size=0), 'queue_size'), (dict(warmup=-1), 'warmup')]
)
def test_bad_arguments(bad, name):
    with pytest.raises(ValueError, match=name):
        NearestNeighbor(**bad)


def test_wrong_dimension():
    with pytest.raises(ValueError, match='dim=7'):
        NearestNeighbor(4, 7)(*next(steps(1)))
