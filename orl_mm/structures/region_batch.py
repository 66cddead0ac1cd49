"""Superpixels and view boxes of a mini-batch, stacked."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .to_device import to_device


@dataclass
class RegionBatch:
    """Superpixels and view boxes of B images.

    Attributes:
        views (Tensor): (B, V, 5) float32: x1, y1, x2, y2 in [0, 1] of the whole
            image and flip 0 / 1, one row a view.
        labels (Tensor, optional): (B, H, W) region ids of x0, 0..counts[b]-1 in
            image b without gaps; None where no prior was made.
        counts (list[int]): Regions of each image; kept on the host, so that
            shapes that depend on it cost no synchronization.
        valid (Tensor, optional): (B, :attr:`padded_count`) 1 for a region of the image, 0 for
            a row that only fills the table; by default made from ``counts``.
    """

    views: Tensor
    labels: Tensor | None = None
    counts: Sequence[int] = ()
    valid: Tensor | None = None

    def __post_init__(self) -> None:
        if self.labels is not None and self.valid is None:
            ids, counts = torch.arange(self.padded_count), torch.tensor(self.counts)
            self.valid = (ids < counts[:, None]).float().to(self.labels.device)

    @classmethod
    def from_samples(cls, samples: list) -> 'RegionBatch':
        """Stack the fields ``views``, ``regions``, ``num_regions`` of data samples.

        Raises:
            ValueError: A sample lacks ``views``, or label maps differ in size.
        """
        if not all('views' in s for s in samples):
            raise ValueError(
                'data samples lack `views`; let the pipeline end with '
                "PackInputs(algorithm_keys=('views', 'regions', 'num_regions')) after "
                'orl_mm.MultiViewWithGeometry'
            )
        views = torch.stack([s.views for s in samples])
        if not all('regions' in s for s in samples):
            return cls(views)
        maps = [s.regions for s in samples]
        if len({tuple(m.shape) for m in maps}) > 1:
            sizes = sorted({tuple(m.shape) for m in maps})
            raise ValueError(
                f'label maps of one batch differ in size: {sizes}; '
                'give every GenerateSuperpixels the same `size`'
            )
        if len({m.dtype for m in maps}) > 1:  # uint8 beside int32 above 256 regions
            maps = [m.int() for m in maps]
        counts = [
            int(s.num_regions) if 'num_regions' in s else int(m.max()) + 1
            for s, m in zip(samples, maps, strict=False)
        ]
        return cls(views, torch.stack(maps), counts)

    @property
    def max_count(self) -> int:
        """M, the channels that masks of this batch need."""
        return max(self.counts)

    @property
    def padded_count(self) -> int:
        """M rounded up to one of few numbers, for shapes that change seldom."""
        return self.max_count + -self.max_count % 32

    @property
    def rows(self) -> Tensor:
        """(sum(counts),) rows of a flat (B * M) table that are regions of their image."""
        most = self.max_count
        rows = torch.cat([torch.arange(n) + b * most for b, n in enumerate(self.counts)])
        return rows.to(self.views.device)

    def to(self, device, non_blocking: bool = False) -> 'RegionBatch':
        """The same batch on ``device``; copied from pinned memory with ``non_blocking``."""

        def move(tensor: Tensor) -> Tensor:
            return to_device(tensor, device) if non_blocking else tensor.to(device)

        if self.labels is None or self.valid is None:
            return RegionBatch(move(self.views))
        return RegionBatch(move(self.views), move(self.labels), self.counts, move(self.valid))
