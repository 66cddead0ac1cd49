"""Tell each region from every other region of the batch (MoCo v3, per region)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from orl_mm.models.utils import RegionPairs, gather_rows
from orl_mm.registry import MODELS

from .region_predict_head import BaseRegionHead


@MODELS.register_module()
class RegionContrastHead(BaseRegionHead):
    """MoCo v3's loss (arXiv 2104.02057, algorithm 1) with a region in the place of an image.

    For region r with prediction q_r, and targets k_s of all valid regions s of the
    batch of all ranks in the other view, both L2-normalized::

        l_r = 2 T * (-q_r k_r / T + log sum_s exp(q_r k_s / T))

    averaged over the regions as :meth:`RegionPairs.weights` does. With one region
    that fills each image this is mmpretrain's ``MoCoV3Head``. Computed in fp32.
    The logits of one direction are R x S floats, R the regions of this rank and S
    those of all ranks.

    Args:
        predictor (dict): Config of a neck that maps ``((R, D), )`` to the same.
        temperature (float): T > 0.
        average (str): See :func:`~orl_mm.models.utils.region_weights`.
        drop_same_cluster (bool): Regions of the same cluster are no negatives: the
            clustering found them alike. Cluster ids mean the same within one rank
            and step, so regions of other ranks always stay.
        symmetric (str): ``'sum'`` of both directions, or their ``'mean'``.
        init_cfg (dict, optional): See mmengine's ``BaseModule``.

    Raises:
        ValueError: ``temperature`` is not above 0, or an unknown ``average``.
    """

    def __init__(
        self,
        predictor: dict,
        temperature: float = 1.0,
        average: str = 'image',
        drop_same_cluster: bool = False,
        symmetric: str = 'sum',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(predictor, symmetric, init_cfg)
        if temperature <= 0:
            raise ValueError(f'temperature must be above 0, got {temperature}')
        if average not in ('image', 'region'):
            raise ValueError(f"average must be 'image' or 'region', got {average!r}")
        self.temperature, self.average = temperature, average
        self.drop_same_cluster = drop_same_cluster

    def directions(
        self, predictions: Sequence[Tensor], targets: Sequence[Tensor], pairs: RegionPairs
    ) -> list[Tensor]:
        keep = pairs.valid_rows()
        weights = pairs.weights(self.average)[keep]
        targets = [F.normalize(t.detach().float(), dim=1)[keep] for t in targets]
        # Both views in one collective, which every rank enters, with rows or without.
        everywhere = gather_rows(torch.cat(targets, 1), pairs.valid_per_rank).chunk(2, 1)
        mine = pairs.first_valid + torch.arange(len(keep), device=keep.device)
        hidden = self._hidden(pairs.clusters()[keep]) if self.drop_same_cluster else None
        return [
            self._direction(F.normalize(pred.float(), dim=1)[keep], keys, mine, hidden, weights)
            for pred, keys in zip(predictions, everywhere, strict=False)
        ]

    def _direction(
        self, queries: Tensor, keys: Tensor, mine: Tensor, hidden: Tensor | None, weights: Tensor
    ) -> Tensor:
        """
        Args:
            queries (Tensor): (R, D) of this rank.
            keys (Tensor): (S, D) of all ranks.
            mine (Tensor): (R, ) columns of this rank; r's positive is ``mine[r]``.
            hidden (Tensor, optional): (R, R) bool: no negative of one another.
            weights (Tensor): (R, ).
        """
        with torch.autocast(queries.device.type, enabled=False):
            logits = queries @ keys.t() / self.temperature
        positive = logits.gather(1, mine[:, None])[:, 0]
        if hidden is not None:
            block = logits[:, mine].masked_fill(hidden, float('-inf'))
            logits = logits.index_copy(1, mine, block)
        losses = logits.logsumexp(1) - positive
        return 2 * self.temperature * (weights * losses).sum()

    @staticmethod
    def _hidden(clusters: Tensor) -> Tensor:
        same = clusters[:, None] == clusters
        return same & ~torch.eye(len(clusters), dtype=torch.bool, device=clusters.device)
