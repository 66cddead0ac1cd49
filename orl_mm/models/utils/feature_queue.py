"""The queue of features of earlier steps (first in, first out) of VADeR, InfoMin and NNCLR."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@torch.no_grad()
def enqueue(queue: Tensor, pointer: Tensor, rows: Tensor, valid: Tensor | None = None) -> None:
    """Write rows over the oldest ones of a queue, in place, and move its pointer.

    The queue may have any length: writing continues at its start, and of more rows than it
    holds the last ones stay. The number of rows that enter is never read by the host, so
    nothing waits for the device.

    Args:
        queue (Tensor): (K, D), or a view of that shape.
        pointer (Tensor): int64, one element: the oldest row, which is replaced next.
        rows (Tensor): (N, D), the oldest first; the same on every rank.
        valid (Tensor, optional): (N,) bool: the rows that enter. None: all.
    """
    length, rows = len(queue), rows.to(queue.dtype)
    entering: int | Tensor = len(rows)
    if valid is None:
        rows = rows[-length:]
    else:
        # The rows that enter last, in their order; the others before them.
        entering = valid.sum()
        order = valid.to(torch.uint8).argsort(stable=True)[-length:]
        rows, valid = rows[order], valid[order]
    slots = torch.arange(len(rows), device=rows.device) + (pointer + entering - len(rows))
    slots = slots % length
    if valid is not None:  # the others lie on older rows, which they must not change
        rows = torch.where(valid[:, None], rows, queue[slots])
    queue.index_copy_(0, slots, rows)
    pointer.add_(entering).remainder_(length)


class FeatureQueue(nn.Module):
    """The last K features of all ranks, unit vectors; part of the checkpoint.

    It starts with random directions. All ranks hold the same queue, since distributed
    wrappers broadcast buffers at the start and all ranks push the same rows.

    Args:
        length (int): K.
        dim (int): D.

    Raises:
        ValueError: A length or dimension below 1.
    """

    rows: Tensor
    pointer: Tensor

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        if length < 1 or dim < 1:
            raise ValueError(
                'a queue needs a length and a dimension of at least 1, got '
                f'length={length}, dim={dim}'
            )
        self.register_buffer('rows', F.normalize(torch.randn(length, dim), dim=1))
        self.register_buffer('pointer', torch.zeros((), dtype=torch.int64))

    def forward(self) -> Tensor:
        """(K, D), a copy: backward needs the rows as they were before :meth:`push`."""
        return self.rows.clone()

    def push(self, rows: Tensor, valid: Tensor | None = None) -> None:
        """Let the rows of all ranks enter, see :func:`enqueue`."""
        enqueue(self.rows, self.pointer, rows, valid)
