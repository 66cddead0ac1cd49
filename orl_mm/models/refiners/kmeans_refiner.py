"""Object segmentation via mask refinement: K-means over pooled target features."""

from contextlib import nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from mmengine.model import BaseModule
from torch import Tensor, nn

from orl_mm.models.utils import (
    downsample_regions,
    downsample_regions_bilinear,
    fit_kmeans,
    mask_pool,
)
from orl_mm.models.utils.kmeans_graphs import KMeansGraphs
from orl_mm.models.utils.norms import frozen_statistics
from orl_mm.models.utils.stages import forward_stage
from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch


class Objects(NamedTuple):
    """m0 of a mini-batch: B images, K objects, S x S the mask grid."""

    masks: Tensor  # (B, K, S, S) float32, shares in [0, 1]
    labels: Tensor  # (B, S, S) int64, the object of each cell
    checksum: Tensor  # scalar: not finite if the features are not


@lru_cache(maxsize=64)
def _ids(count: int, device: str) -> Tensor:
    return torch.arange(count, device=device)


@MODELS.register_module()
class KMeansRefiner(BaseModule):
    """Turn superpixels into objects (thesis, section 2.2).

    Features h = f_xi(x0) are pooled inside every superpixel of the prior (equation
    2.1), and the pooled vectors of the whole mini-batch are clustered; superpixels
    of one cluster become one mask. K-means runs in fp32 and per process: cluster
    ids mean the same in the images of one process and step, and nowhere else.

    Args:
        num_clusters (int, optional): K. None: no clustering, the superpixels are
            the masks. ``KMeansRefineHook`` changes it by its schedule.
        stage (int): Backbone stage to cluster, 0-based; 2 is C4.
        mask_size (int): S, the side of m0.
        downsample (str): Superpixels to the grid of the features: ``'area'`` share
            of each cell, or ``'bilinear'`` without anti-aliasing (the public code).
        min_area (float): See :func:`~orl_mm.models.utils.mask_pool`.
        cluster_empty (bool): Also cluster the zero vectors of the channels an image
            does not use (the public code).
        border (str): A cell of m0 on a border takes the cluster of the region
            with the largest share (``'majority'``), or the average of cluster ids,
            truncated (``'blend'``, the public code).
        update_running_stats (bool): The pass over x0 normalizes with the batch's
            statistics; True also lets it update the running ones (the public code).
        dtype (str, optional): ``'bfloat16'`` runs that pass, which has no
            gradient, in bfloat16. None: as the surrounding context does.
        max_iters, tol, absolute_tol: See :func:`~orl_mm.models.utils.fit_kmeans`.
        graph (bool): On a GPU, replay K-means as a CUDA graph, see
            :class:`~orl_mm.models.utils.kmeans_graphs.KMeansGraphs`. The result is the same.
        seed (int): Seeds the K-means generator, together with the rank and the
            number of clusterings done; that number is in the checkpoint, so a
            resumed run draws what the unbroken one would have drawn.
    """

    def __init__(
        self,
        num_clusters: int | None = 64,
        stage: int = 2,
        mask_size: int = 56,
        downsample: str = 'area',
        min_area: float = 0.0,
        cluster_empty: bool = False,
        border: str = 'majority',
        update_running_stats: bool = False,
        dtype: str | None = None,
        max_iters: int = 200,
        tol: float = 1e-4,
        absolute_tol: float | None = None,
        graph: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, legal in (
            ('downsample', downsample, ('area', 'bilinear')),
            ('border', border, ('majority', 'blend')),
            ('dtype', dtype, (None, 'float32', 'float16', 'bfloat16')),
        ):
            if value not in legal:
                raise ValueError(f'{name} must be one of {legal}, got {value!r}')
        if num_clusters is not None and (type(num_clusters) is not int or num_clusters < 1):
            raise ValueError(
                f'num_clusters={num_clusters!r} must be a positive integer, or None: no clustering'
            )
        self.num_clusters = num_clusters
        self.stage, self.mask_size = stage, mask_size
        self.shrink = downsample_regions if downsample == 'area' else downsample_regions_bilinear
        self.min_area, self.cluster_empty, self.border = min_area, cluster_empty, border
        self.update_running_stats = update_running_stats
        self.dtype = None if dtype is None else getattr(torch, dtype)
        self.fit_args: dict[str, Any] = dict(
            max_iters=max_iters, tol=tol, absolute_tol=absolute_tol
        )
        self.graphs = KMeansGraphs() if graph else KMeansGraphs(capture=None)
        self.seed = seed
        self.register_buffer('clusterings', torch.zeros((), dtype=torch.int64))
        self._done = 0  # the same on the host: reading the buffer would wait for the device
        self.register_load_state_dict_post_hook(
            lambda module, _: setattr(module, '_done', int(module.clusterings))
        )

    def forward(self, backbone: nn.Module, x0: Tensor, batch: RegionBatch) -> Objects:
        """Objects of the images, and one more draw of the generator.

        Args:
            backbone (nn.Module): The target network's encoder.
            x0 (Tensor): (B, 3, H, W), whole images, normalized as the views are.
            batch (RegionBatch): Superpixels of x0; without labels, the cells of
                the feature map themselves are clustered (no prior).

        Returns:
            Objects
        """
        objects = self.refine(
            backbone, x0, batch, self._generator(x0.device, self._done), self.update_running_stats
        )
        self.clusterings += 1
        self._done += 1
        return objects

    @torch.no_grad()
    def refine(
        self,
        backbone: nn.Module,
        x0: Tensor,
        batch: RegionBatch,
        generator: torch.Generator | None = None,
        update_running_stats: bool = False,
    ) -> Objects:
        """As :meth:`forward`, without changing the module's state (for pictures and tools)."""
        if self.num_clusters is None:
            if batch.labels is None:
                raise ValueError(
                    'there are no objects: clustering is off (num_clusters=None) and there is no '
                    'prior mask. Set another `method` of GenerateSuperpixels, or a K'
                )
            return self._superpixels_as_objects(batch.labels, batch.max_count)
        if generator is None:
            generator = self._generator(x0.device, 0)
        feats = self._features(backbone, x0, update_running_stats)
        padded = feats.is_cuda  # shapes that change seldom, for CUDA graphs
        with torch.autocast(feats.device.type, enabled=False):
            masks = regions = None
            if batch.labels is not None:
                masks, regions = self._regions(batch, feats.shape[-2:], padded)
            points, rows, shape = self._points(feats.float(), batch, masks, padded)
            result = fit_kmeans(
                points,
                self.num_clusters,
                generator,
                valid=self._valid(batch) if padded else None,
                graphs=self.graphs if padded else None,
                **self.fit_args,
            )
            clusters = result.labels
            if rows is not None:
                clusters = clusters.new_zeros(shape.numel()).scatter_(0, rows, clusters)
            labels = self._paint(clusters.view(shape), batch, feats.shape[-2:], regions)
        return Objects(self._one_hot(labels, self.num_clusters), labels, points.sum())

    def _features(self, backbone: nn.Module, x0: Tensor, update_running_stats: bool) -> Tensor:
        keep = nullcontext() if update_running_stats else frozen_statistics(backbone)
        device = x0.device.type
        # No cache of cast weights: without a target network these are the trained weights,
        # and a cached copy would have this pass's dtype and no gradient.
        cast = torch.autocast(
            device,
            self.dtype or torch.get_autocast_dtype(device),
            cache_enabled=False,
            enabled=(
                torch.is_autocast_enabled(device)
                if self.dtype is None
                else self.dtype != torch.float32
            ),
        )
        # Channels-last inputs make all outputs of convolutions channels-last, whatever the
        # layout of the weights: this pass takes a fifth less time on a CPU.
        x0 = x0.contiguous(memory_format=torch.channels_last)
        with keep, cast:
            return forward_stage(backbone, x0, self.stage)

    def _regions(
        self, batch: RegionBatch, grid: torch.Size, padded: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Masks (B, M, h, w) on the grid of the features; the region of each cell of m0."""
        assert batch.labels is not None
        count = batch.padded_count if padded else batch.max_count
        if self.border == 'blend':
            return self.shrink(batch.labels, count, grid), None
        fine = downsample_regions(batch.labels, count, (self.mask_size, self.mask_size))
        regions = fine.argmax(1)
        uneven = any(side % self.mask_size for side in batch.labels.shape[1:])
        if self.shrink is not downsample_regions or uneven or any(self.mask_size % n for n in grid):
            return self.shrink(batch.labels, count, grid), regions
        # A cell of the features is some cells of m0: its share is their mean.
        return F.avg_pool2d(fine, [self.mask_size // n for n in grid]), regions

    def _points(
        self, feats: Tensor, batch: RegionBatch, masks: Tensor | None = None, padded: bool = False
    ) -> tuple[Tensor, Tensor | None, torch.Size]:
        """Unit vectors to cluster, their rows in the flat table, and the table's shape.

        Without rows the points are the whole table.
        """
        if batch.labels is None:
            points = feats.flatten(2).transpose(1, 2)  # (B, h * w, C)
        else:
            if masks is None:
                masks, _ = self._regions(batch, feats.shape[-2:], padded)
            points = mask_pool(feats, masks, self.min_area)  # (B, M, C)
        shape, points = points.shape[:2], F.normalize(points.flatten(0, 1), dim=1)
        if batch.labels is None or self.cluster_empty or padded:
            return points, None, shape
        rows = batch.rows
        return points.index_select(0, rows), rows, shape

    def _valid(self, batch: RegionBatch) -> Tensor | None:
        """Which points of a padded table count."""
        if batch.valid is None:
            return None
        if self.cluster_empty:
            ids = torch.arange(batch.padded_count, device=batch.valid.device)
            return (ids < batch.max_count).expand_as(batch.valid).flatten()
        return batch.valid.flatten()

    def _paint(
        self, clusters: Tensor, batch: RegionBatch, grid: torch.Size, regions: Tensor | None = None
    ) -> Tensor:
        """Cluster of each region (B, M), or cell, to the label map m0 (B, S, S)."""
        size = (self.mask_size, self.mask_size)
        if batch.labels is None:
            cells = clusters.view(-1, 1, *grid).float()
            return F.interpolate(cells, size, mode='nearest-exact')[:, 0].long()
        if self.border == 'blend':
            pixels = clusters.gather(1, batch.labels.flatten(1).long()).view(batch.labels.shape)
            blended = F.interpolate(
                pixels[:, None].float(), size, mode='bilinear', align_corners=False
            )
            return blended[:, 0].long()
        if regions is None:
            _, regions = self._regions(batch, grid)
            assert regions is not None
        return clusters.gather(1, regions.flatten(1)).view(regions.shape)

    def _superpixels_as_objects(self, regions: Tensor, num_regions: int) -> Objects:
        size = (self.mask_size, self.mask_size)
        checksum = torch.zeros((), device=regions.device)
        if self.border == 'blend':
            masks = downsample_regions_bilinear(regions, num_regions, size)
            return Objects(masks, masks.argmax(1), checksum)
        labels = downsample_regions(regions, num_regions, size).argmax(1)
        return Objects(self._one_hot(labels, num_regions), labels, checksum)

    @staticmethod
    def _one_hot(labels: Tensor, num_objects: int) -> Tensor:
        ids = _ids(num_objects, str(labels.device))
        masks = torch.empty(len(labels), num_objects, *labels.shape[1:], device=labels.device)
        return torch.eq(labels[:, None], ids[:, None, None], out=masks)

    def _generator(self, device: torch.device, draw: int) -> torch.Generator:
        # Weyl steps keep the streams of neighboring ranks and draws apart.
        seed = self.seed + 0x9E3779B97F4A7C15 * (get_rank() + 1) + 0xD1B54A32D192ED03 * draw
        return torch.Generator(device).manual_seed(seed % 2**63)
