"""Regions gathered over two processes: the contrast equals the joined batch, the queues are equal.

Rank 1 holds the second half of the images, and no region at all in the case 'empty'.
K-means runs per rank, so rank 1's clusters are others: in the joined batch they get
channels of their own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from orl_mm.models.heads.region_contrast_head import RegionContrastHead
from orl_mm.models.positives.nearest_neighbor import NearestNeighbor
from orl_mm.models.utils import RegionPairs, gather_rows

B, K, D = 4, 5, 6
IDENTITY = dict(
    type='orl_mm.RegionMLP',
    in_channels=D,
    hid_channels=8,
    out_channels=D,
    num_layers=2,
    norm_cfg=dict(type='BN1d'),
    with_last_bn=False,
)


def pairs_of(valid, **kwargs):
    masks = valid.float()[..., None, None].expand(-1, -1, 2, 2)
    return RegionPairs(masks, masks, **kwargs)


def rows_of(tables, valid, all_rows=False):
    return [t.flatten(0, 1) if all_rows else t[valid] for t in tables]


def case(name):
    generator = torch.Generator().manual_seed(0)
    valid = torch.rand(B, K, generator=generator) > 0.4
    if name == 'empty':
        valid[B // 2 :] = False
    table = [torch.randn(B, K, D, generator=generator) for _ in range(4)]
    return valid, table[:2], table[2:]


CASES = [
    ('plain', False, 'valid'),
    ('plain', True, 'valid'),
    ('empty', True, 'valid'),
    ('plain', True, 'all'),
]


def worker(rank, out):
    dist.init_process_group('gloo', f'file://{out}/store', rank=rank, world_size=2)
    results = []
    for name, drop, rows in CASES:
        valid, predictions, targets = case(name)
        part = slice(rank * B // 2, (rank + 1) * B // 2)
        leaves = [p[part].clone().requires_grad_() for p in predictions]
        valid, targets = valid[part], [t[part] for t in targets]
        pairs = pairs_of(valid, rows=rows)
        loss = RegionContrastHead(IDENTITY, 0.3, drop_same_cluster=drop).loss(
            rows_of(leaves, valid, rows == 'all'), rows_of(targets, valid, rows == 'all'), pairs
        )
        loss.backward()
        queue = NearestNeighbor(50, D)
        queue(rows_of(targets, valid, rows == 'all'), pairs)
        results.append((loss.detach(), [p.grad for p in leaves], queue.queue, queue.progress))
    torch.save(results, Path(out) / str(rank))
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def two_ranks(tmp_path_factory):
    """What each of two processes, which run this file, has computed."""
    out = tmp_path_factory.mktemp('ranks')
    root = Path(__file__).parents[2]
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(root))
    jobs = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(out)],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    for job in jobs:
        _, err = job.communicate(timeout=240)
        assert job.returncode == 0, err[-3000:]
    return [torch.load(out / str(rank)) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize('number', range(len(CASES)))
def test_two_processes_equal_the_joined_batch(two_ranks, number):
    name, drop, _ = CASES[number]
    valid, predictions, targets = case(name)
    leaves = [p.clone().requires_grad_() for p in predictions]
    first = (torch.arange(B) < B // 2)[:, None]
    joined = torch.cat([valid & first, valid & ~first], 1)
    pairs = pairs_of(joined)
    doubled = [[torch.cat([t, t], 1)[joined] for t in x] for x in (leaves, targets)]
    expected = RegionContrastHead(IDENTITY, 0.3, drop_same_cluster=drop).loss(*doubled, pairs)
    expected.backward()
    found = [results[number] for results in two_ranks]
    torch.testing.assert_close((found[0][0] + found[1][0]) / 2, expected.detach())
    for view in (0, 1):  # distributed training takes the mean of the ranks' gradients
        grad = torch.cat([found[rank][1][view] for rank in (0, 1)]) / 2
        torch.testing.assert_close(grad, leaves[view].grad)


@pytest.mark.slow
@pytest.mark.parametrize('number', range(len(CASES)))
def test_ranks_hold_the_same_queue(two_ranks, number):
    valid, _, targets = case(CASES[number][0])
    rows = F.normalize(targets[0][valid], dim=1)
    for results in two_ranks:
        queue, progress = results[number][2:]
        assert progress.tolist() == [len(rows), 1]
        torch.testing.assert_close(queue[: len(rows)], rows)
        assert not queue[len(rows) :].any()


def test_counts_and_rows_must_agree():
    with pytest.raises(ValueError, match='3 rows, counts says 2'):
        gather_rows(torch.zeros(3, D), [2])


if __name__ == '__main__':
    worker(int(sys.argv[1]), sys.argv[2])
