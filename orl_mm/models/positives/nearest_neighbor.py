"""Nearest neighbors as positives, among regions (NNCLR, at the object level)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from orl_mm.models.utils import RegionPairs, gather_rows
from orl_mm.models.utils.feature_queue import enqueue
from orl_mm.registry import MODELS

_MOST_SIMILARITIES = 2**25  # held at a time: 128 MB of fp32


@MODELS.register_module()
class NearestNeighbor(BaseModule):
    """Replace each target embedding by its nearest one in a support set (thesis, 2.4).

    NNCLR (arXiv 2104.14548, equation 2) with regions in the place of images::

        NN(k, Q) = argmax_{s in Q} cos(k, s)

    ``same_cluster=False``: Q is a queue of the target embeddings of earlier
    mini-batches of all ranks, first in, first out; after the look-up the valid
    regions of view 1 enter it (NNCLR's algorithm 1). Until it is full every target
    is its own positive. All ranks hold the same queue, it is in the checkpoint, and
    nothing is drawn at random, so a resumed run goes on as the unbroken one.

    ``same_cluster=True``: the neighbor must be a region of the same cluster. As
    cluster ids mean the same within one rank and step only, there is no queue: Q is
    the regions of that cluster in the *other* images of this rank's mini-batch, in
    the same view. A region whose cluster is in no other image, and every region
    where clustering is off, is its own positive.

    Args:
        queue_size (int): Embeddings in Q, as ``queue_size * dim`` floats; 0 with
            ``same_cluster``.
        dim (int): D, channels of a projection.
        same_cluster (bool): See above.
        warmup (int): Training steps before the first replacement; the queue fills
            meanwhile.

    Raises:
        ValueError: A size below 1, or a projection of another dimension.
    """

    queue: Tensor
    progress: Tensor

    def __init__(
        self, queue_size: int = 65536, dim: int = 256, same_cluster: bool = False, warmup: int = 0
    ) -> None:
        super().__init__()
        if same_cluster:
            queue_size = 0
        elif queue_size < 1 or dim < 1:
            raise ValueError(
                f'queue_size and dim must be at least 1, got queue_size={queue_size}, dim={dim}'
            )
        if warmup < 0:
            raise ValueError(f'warmup must be at least 0 steps, got {warmup}')
        self.queue_size, self.dim = queue_size, dim
        self.same_cluster, self.warmup = same_cluster, warmup
        self.register_buffer('queue', torch.zeros(queue_size, dim))
        # Rows that ever entered, and steps; the same on the host, where reading them
        # costs no wait for the device.
        self.register_buffer('progress', torch.zeros(2, dtype=torch.int64))
        self._entered = self._steps = 0
        self.register_load_state_dict_post_hook(_read_progress)

    @torch.no_grad()
    def forward(self, targets: Sequence[Tensor], pairs: RegionPairs) -> list[Tensor]:
        """
        Args:
            targets (sequence): Two (R, D): target projections of view 1 and 2.
            pairs (RegionPairs): Whose rows these are.

        Returns:
            list: Two (R, D) of the same type: what replaces them. A neighbor has
            unit length, a target that stays is returned as it came.
        """
        ready = self._steps >= self.warmup
        if self.same_cluster:
            chosen = [self._in_cluster(t, pairs) for t in targets] if ready else list(targets)
        else:
            if targets[0].shape[1] != self.dim:
                raise ValueError(
                    f'projections have {targets[0].shape[1]} channels, '
                    f'NearestNeighbor was built with dim={self.dim}'
                )
            full = self._entered >= self.queue_size
            chosen = [self._in_queue(t) for t in targets] if ready and full else list(targets)
            self._enqueue(targets[0][pairs.valid_rows()], pairs)
        self._steps += 1
        self.progress[1] += 1
        return chosen

    def _in_queue(self, target: Tensor) -> Tensor:
        rows = max(1, _MOST_SIMILARITIES // self.queue_size)
        with torch.autocast(target.device.type, enabled=False):
            nearest = [(part.float() @ self.queue.t()).argmax(1) for part in target.split(rows)]
        return self.queue[torch.cat(nearest)].to(target.dtype)

    def _in_cluster(self, target: Tensor, pairs: RegionPairs) -> Tensor:
        images, clusters, keep = pairs.images(), pairs.clusters(), pairs.valid_rows()
        if not len(keep):
            return target
        support = F.normalize(target[keep].float(), dim=1)
        allowed = (clusters[:, None] == clusters[keep]) & (images[:, None] != images[keep])
        with torch.autocast(target.device.type, enabled=False):
            similarity = target.float() @ support.t()
        best = similarity.masked_fill(~allowed, float('-inf')).argmax(1)
        return torch.where(allowed.any(1, keepdim=True), support[best].to(target.dtype), target)

    def _enqueue(self, rows: Tensor, pairs: RegionPairs) -> None:
        """Write the rows of all ranks over the oldest ones of the queue."""
        rows = gather_rows(F.normalize(rows.float(), dim=1), pairs.valid_per_rank)
        if len(rows) > self.queue_size:  # evenly among ranks and images
            steps = torch.arange(self.queue_size, device=rows.device)
            rows = rows[steps * len(rows) // self.queue_size]
        enqueue(self.queue, self.progress[:1] % self.queue_size, rows)
        self._entered += len(rows)
        self.progress[0] += len(rows)


def _read_progress(module: NearestNeighbor, _: Any) -> None:
    module._entered, module._steps = module.progress.tolist()
