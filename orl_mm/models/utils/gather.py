"""Rows of all processes, where each has its own number of them."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


@torch.no_grad()
def gather_rows(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """The rows of all ranks, rank after rank; no gradient.

    Collectives want equal shapes, so every rank pads to the largest count and the
    padding is cut away. A rank without rows enters the collective like the others;
    only where no rank has any do all of them skip it.

    Args:
        rows (Tensor): (R, D) of this rank.
        counts (sequence): R of each rank, on the host and the same everywhere, such
            as :attr:`RegionPairs.valid_per_rank`.

    Returns:
        Tensor: (sum of counts, D).

    Raises:
        ValueError: ``rows`` is not as long as ``counts`` says.
    """
    distributed = dist.is_available() and dist.is_initialized()
    rank = dist.get_rank() if distributed else 0
    if len(rows) != counts[rank]:
        raise ValueError(f'this rank holds {len(rows)} rows, counts says {counts[rank]}')
    if len(counts) == 1 or not any(counts):
        return rows.detach()
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=False)])
