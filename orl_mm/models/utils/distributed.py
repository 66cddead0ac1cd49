"""Tensors of all processes of a distributed job, also where each has its own number of rows."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from mmengine.dist import get_rank, get_world_size
from torch import Tensor


@torch.no_grad()
def gather_rows(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """The rows of all ranks, rank after rank; no gradient.

    Collectives need equal shapes, so every rank pads to the largest count and the padding
    is removed afterwards. A rank without rows takes part like the others; all ranks skip
    the collective if none has any rows.

    Args:
        rows (Tensor): (R, D) of this rank.
        counts (sequence): R of each rank, on the host and the same everywhere, such
            as :attr:`RegionPairs.valid_per_rank`.

    Returns:
        Tensor: (sum of counts, D).

    Raises:
        ValueError: The number of ``rows`` is not ``counts`` of this rank.
    """
    if len(rows) != counts[get_rank()]:
        raise ValueError(f'this rank holds {len(rows)} rows, counts says {counts[get_rank()]}')
    if len(counts) == 1 or not any(counts):
        return rows.detach()
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


@torch.no_grad()
def gather_valid(rows: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of all ranks and which of them count, in one collective.

    Args:
        rows (Tensor): (N, D) floats; N is the same on every rank.
        valid (Tensor): (N,) bool.

    Returns:
        tuple: (ranks * N, D) and (ranks * N,) bool, rank after rank.
    """
    both = torch.cat([rows, valid[:, None].to(rows.dtype)], 1)
    both = gather_rows(both, [len(rows)] * get_world_size())
    return both[:, :-1], both[:, -1] > 0
