"""R2O's pairs: the regions that both views show, and how many of them each process has."""

import math
from collections.abc import Sequence

import torch
from mmengine.dist import all_gather, get_rank
from torch import Tensor

from orl_mm.errors import DivergedError

from .regions import region_weights


class RegionPairs:
    """The pairs of a mini-batch that enter the loss, M' in each image (equation 2.5).

    Counts reach the host by one asynchronous copy that starts right after the masks were
    made and is read after the encoders were launched, so that the device is never idle.
    In a distributed job these counts are gathered once: all ranks know the same totals and
    enter the same collectives, also a rank without any pair.

    Args:
        masks1 (Tensor): (B, K, h, w) masks of view 1.
        masks2 (Tensor): The same regions in view 2.
        min_area (float): A region is present where its mask sums to more.
        rows (str): ``'valid'``: the networks after pooling only see the valid pairs.
            ``'all'``: all B * K rows (the public code, row 19 of projects/r2o/README.md).
        checksums (sequence): fp32 scalars, such as sums of features; one that is not finite
            stops every rank with an error instead of training on NaN.
        clustered (bool): Channel k is the same cluster in every image of this rank;
            False if superpixels are the masks, whose ids only have a meaning within an
            image.

    Attributes:
        valid (Tensor): (B, K) bool.

    Raises:
        ValueError: Another ``rows``.
        DivergedError: When a count is first read, features of any rank that are not finite.
    """

    def __init__(
        self,
        masks1: Tensor,
        masks2: Tensor,
        min_area: float = 1e-3,
        rows: str = 'valid',
        checksums: Sequence[Tensor] = (),
        clustered: bool = True,
    ) -> None:
        if rows not in ('valid', 'all'):
            raise ValueError(f"rows must be 'valid' or 'all', got {rows!r}")
        area1, area2 = masks1.flatten(2).sum(2), masks2.flatten(2).sum(2)
        self.valid = (area1 > min_area) & (area2 > min_area)
        self.all_rows = rows == 'all'
        self.clustered = clustered
        self._seen: list[list[int]] | None = None
        counted = (x.sum(dtype=torch.float32) for x in (self.valid, self.valid.any(1)))
        counts = torch.stack([*counted, *checksums]).detach()
        self._counts = torch.stack(all_gather(counts))  # (world, 2 + checksums), on the device
        self._order = self.valid.flatten().view(torch.uint8).argsort(descending=True, stable=True)
        self._host, self._event = _copy_to_host(self._counts)

    def _read(self) -> list[list[int]]:
        if self._seen is None:
            if self._event is not None:
                self._event.synchronize()
            rows = self._host.tolist()
            ill = [rank for rank, row in enumerate(rows) if not all(map(math.isfinite, row))]
            if ill:
                raise DivergedError(
                    f'the features of the whole image are NaN or infinite on rank {ill}: '
                    'training has diverged. Resume from an earlier checkpoint with a '
                    'lower learning rate, or with bf16 or fp32 instead of fp16'
                )
            self._seen = [[int(row[0]), int(row[1])] for row in rows]
        return self._seen

    @property
    def world_size(self) -> int:
        """Processes that share the step."""
        return len(self._counts)

    @property
    def rows_per_rank(self) -> list[int]:
        """Rows that each rank sends through projector and predictor, one view."""
        if self.all_rows:  # same batch size and K everywhere
            return [self.valid.numel()] * self.world_size
        return self.valid_per_rank

    @property
    def valid_per_rank(self) -> list[int]:
        """Valid pairs of each rank; the same as rows unless ``rows='all'``."""
        return [row[0] for row in self._read()]

    @property
    def local_rows(self) -> int:
        """Rows of this rank, one view."""
        return self.rows_per_rank[get_rank()]

    @property
    def total_rows(self) -> int:
        """Rows of all ranks, one view."""
        return sum(self.rows_per_rank)

    def rows(self, num_views: int = 1) -> Tensor:
        """Indices of the rows in use in a (num_views * B * K) table, view after view."""
        self._read()
        if self.all_rows:
            return torch.arange(num_views * self.valid.numel(), device=self.valid.device)
        rows = self._order[: self.local_rows]
        if num_views == 1:
            return rows
        return torch.cat([rows + view * self.valid.numel() for view in range(num_views)])

    @property
    def first_valid(self) -> int:
        """Valid pairs of the ranks before this one."""
        return sum(self.valid_per_rank[: get_rank()])

    def valid_rows(self) -> Tensor:
        """Positions in :meth:`rows` of one view that hold valid pairs, (V, )."""
        count = self.valid_per_rank[get_rank()]
        if self.all_rows:
            return self._order[:count]
        return torch.arange(count, device=self.valid.device)

    def images(self) -> Tensor:
        """The image of each row of one view, (R, ) int64 in 0..B-1."""
        return self.rows() // self.valid.shape[1]

    def clusters(self) -> Tensor:
        """The cluster of each row of one view, (R, ) int64.

        Equal numbers are one cluster within this rank and step only, since K-means runs
        per process. Without clustering each row has a number of its own.
        """
        return self.rows() % self.valid.shape[1] if self.clustered else self.rows()

    def weights(self, average: str) -> Tensor:
        """The weight of each row of :meth:`rows` in this rank's loss.

        Scaled so that the mean over ranks, which distributed training takes of the
        gradients, is the loss of the joined batch, however the pairs are distributed.

        Args:
            average (str): See :func:`~orl_mm.models.utils.region_weights`.

        Returns:
            Tensor: (R,) float32, without gradient.
        """
        weights = region_weights(self.valid, average)
        unit = 0 if average == 'region' else 1
        mine, total = self._counts[get_rank(), unit], self._counts[:, unit].sum()
        weights = weights * (mine * self.world_size / total.clamp(min=1))
        return weights.flatten()[self.rows()]


def _copy_to_host(tensor: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    if not tensor.is_cuda:
        return tensor, None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    return host, event
