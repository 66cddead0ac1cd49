"""Two gloo processes compute what one process computes on the joined batch."""

import pytest
import torch

from orl_mm.models.utils import gather_rows
from tests.ranks import run_ranks
from tests.test_models.distributed_cases import CASES, run_all


@pytest.fixture(scope='module')
def runs():
    return dict(together=run_ranks(run_all)[0], joined=run_all(0, 1))


@pytest.mark.parametrize('case', [name for name in CASES if name != 'knn'])
def test_two_processes_equal_the_joined_batch(runs, case):
    """Losses, gradients, moving average and queue, also if ranks hold unequal shares."""
    two, one = runs['together'][case], runs['joined'][case]
    # Batch norm amplifies what the order of a sum changes.
    normed = 'SyncBN' in case
    torch.testing.assert_close(
        two['losses'], one['losses'], atol=1e-4 if normed else 1e-6, rtol=1e-5
    )
    strict = case.startswith('r2o') and not normed
    for key in ('grads', 'target', 'statistics'):
        for mine, joined in zip(two.get(key, []), one.get(key, []), strict=True):
            torch.testing.assert_close(
                mine,
                joined,
                atol=2e-6 if strict else 5e-5 * max(1, joined.abs().max()) if normed else 1e-5,
                rtol=1e-4 if strict else 1e-3,
            )
    first, second = two['queues']  # those of both ranks
    assert torch.equal(first, second)
    torch.testing.assert_close(first, one['queues'][0], atol=1e-5, rtol=1e-4)
    assert any(g.abs().max() > 1e-4 for g in one['grads']) == ('empty job' not in case)
    assert (one['losses'].abs().sum() > 0) == ('empty job' not in case)


def test_knn_of_two_processes(runs):
    """Neither holds all training images; each of its queries is compared with all, once."""
    two, one = runs['together']['knn'], runs['joined']['knn']
    assert two['sizes'] == [4, 3]  # fewer than k in each
    torch.testing.assert_close(two['scores'], one['scores'], atol=1e-6, rtol=1e-5)
    assert (one['scores'] > 0).sum() > len(one['scores'])


def test_counts_and_rows_must_agree():
    with pytest.raises(ValueError, match='3 rows, counts says 2'):
        gather_rows(torch.zeros(3, 6), [2])
