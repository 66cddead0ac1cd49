"""Batch normalization where the number of rows, or the purpose, is unusual."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def _batch_norms(module: nn.Module):
    return [m for m in module.modules() if isinstance(m, _BatchNorm)]


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Normalize as the modules would, and leave their running statistics untouched.

    In training mode that is: with the statistics of the batch (projects/r2o/README.md,
    row 24). Running statistics are lent away for scratch memory that nobody reads: to
    do without them, ``track_running_stats=False``, is no way for SyncBatchNorm, whose
    CUDA kernel then expects its counts in the dtype of the input.
    """
    norms = [m for m in _batch_norms(module) if m.training and m.running_mean is not None]
    kept = [dict(m._buffers) for m in norms]
    for norm, buffers in zip(norms, kept, strict=False):
        norm.running_mean = torch.empty_like(buffers['running_mean'])
        norm.running_var = torch.empty_like(buffers['running_var'])
        norm.num_batches_tracked = None  # not counted, which is one launch less for each norm
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=False):
            norm._buffers.update(buffers)


@contextmanager
def few_rows(module: nn.Module, local_rows: int, total_rows: int) -> Iterator[None]:
    """Let normalizations that would see fewer than two rows use running statistics.

    The variance of a single row is zero and that of none undefined (projects/r2o/README.md,
    row 23). A synchronised norm counts the rows of all ranks, which every rank
    knows, so either all of them enter its collective or none does.

    Args:
        module (nn.Module): Holds the norms.
        local_rows (int): Rows of this rank.
        total_rows (int): Rows of all ranks.
    """
    distributed = dist.is_available() and dist.is_initialized()
    changed = []
    for norm in _batch_norms(module):
        synchronised = distributed and isinstance(norm, nn.SyncBatchNorm)
        if norm.training and (total_rows if synchronised else local_rows) < 2:
            changed.append(norm)
            norm.training = False
    try:
        yield
    finally:
        for norm in changed:
            norm.training = True
