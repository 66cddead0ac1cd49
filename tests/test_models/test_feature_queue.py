"""The queue against a list from which the oldest are dropped; two processes hold the same."""

from collections import deque

import pytest
import torch

from orl_mm.models.utils.feature_queue import FeatureQueue, enqueue


def steps(valid, counts, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for count in counts:
        rows = torch.randn(count, 2, generator=generator)
        keep = torch.rand(count, generator=generator) > 0.4 if valid else None
        yield rows, keep


# Fewer than the queue, one that wraps, none, more than the queue, exactly its length.
@pytest.mark.parametrize('counts', [[3, 3, 3, 3], [4, 0, 5], [17, 2, 23], [7, 7, 1]])
@pytest.mark.parametrize('valid', [False, True])
def test_content_is_that_of_a_list(counts, valid):
    torch.manual_seed(1)
    queue = FeatureQueue(7, 2)
    expected = deque(queue.rows.unbind(), maxlen=7)  # the oldest first
    for rows, keep in steps(valid, counts):
        queue.push(rows, keep)
        expected.extend(row for i, row in enumerate(rows) if keep is None or keep[i])
        pointer = int(queue.pointer)
        assert 0 <= pointer < 7
        oldest_first = torch.cat([queue.rows[pointer:], queue.rows[:pointer]])
        assert torch.equal(oldest_first, torch.stack(list(expected)))


def test_rows_that_do_not_enter_change_nothing():
    queue = FeatureQueue(5, 2)
    before = queue().clone()
    queue.push(torch.full((3, 2), float('nan')), torch.zeros(3, dtype=torch.bool))
    assert torch.equal(queue(), before)
    assert queue.pointer == 0


def test_queue_of_mmpretrain_is_written_through_its_transpose():
    """MoCo holds (D, K) and a pointer of shape (1,)."""
    queue, pointer = torch.zeros(2, 5), torch.tensor([3])
    enqueue(queue.t(), pointer, torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert queue.tolist() == [[5, 0, 0, 1, 3], [6, 0, 0, 2, 4]]
    assert pointer.tolist() == [1]


def test_what_a_step_sees_does_not_change_under_it():
    queue = FeatureQueue(4, 3)
    assert torch.allclose(queue.rows.norm(dim=1), torch.ones(4))
    query = torch.randn(2, 3, requires_grad=True)
    seen = queue()
    loss = (query @ seen.t()).exp().sum()
    before = seen.clone()
    queue.push(torch.randn(3, 3))
    loss.backward()  # a queue written in place would raise here
    assert torch.equal(seen, before)
    assert not torch.equal(queue.rows, before)


def test_queue_is_part_of_the_checkpoint():
    queue, other = FeatureQueue(4, 3), FeatureQueue(4, 3)
    queue.push(torch.randn(3, 3))
    other.load_state_dict(queue.state_dict())
    assert torch.equal(other.rows, queue.rows)
    assert other.pointer == 3


@pytest.mark.parametrize('size', [(0, 4), (4, 0)])
def test_empty_queue_is_refused(size):
    with pytest.raises(ValueError, match='at least 1'):
        FeatureQueue(*size)
