"""Tell the same pixel in another view from pixels of other images (VADeR)."""

import torch
from mmengine.dist import get_world_size
from mmengine.model import BaseModule
from torch import Tensor

from orl_mm.registry import MODELS


@MODELS.register_module()
class PixelContrastHead(BaseModule):
    """InfoNCE of matched pixels against a queue, VADeR's loss; no parameters.

    For pixel p with query q_p, its key k_p in the other view, and queue n_1 .. n_K, all
    unit vectors::

        l_p = -q_p k_p / T + log(exp(q_p k_p / T) + sum_j exp(q_p n_j / T))

    averaged over the valid pixels of all ranks, times ``loss_weight``. Computed in fp32.

    Args:
        temperature (float): T > 0.
        loss_weight (float): Multiplies the loss.
        init_cfg (dict, optional): See mmengine's ``BaseModule``.

    Raises:
        ValueError: ``temperature`` is not above 0.
    """

    def __init__(
        self, temperature: float = 0.07, loss_weight: float = 1.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        if temperature <= 0:
            raise ValueError(f'temperature must be above 0, got {temperature}')
        self.temperature, self.loss_weight = temperature, loss_weight

    def loss(
        self, queries: Tensor, keys: Tensor, negatives: Tensor, valid: Tensor, total: Tensor
    ) -> Tensor:
        """The loss of this rank: averaged over ranks, as DDP does, it is that of all.

        Args:
            queries (Tensor): (R, D) unit vectors.
            keys (Tensor): (R, D) unit vectors, no gradient.
            negatives (Tensor): (K, D) unit vectors.
            valid (Tensor): (R,) bool: the pixels that count.
            total (Tensor): Their number on all ranks.

        Returns:
            Tensor: Scalar; 0 but connected to the queries where no pixel counts.
        """
        with torch.autocast(queries.device.type, enabled=False):
            queries, keys = queries.float(), keys.float()
            positive = (queries * keys).sum(1) / self.temperature
            negative = queries @ negatives.t() / self.temperature
        losses = torch.logaddexp(positive, negative.logsumexp(1)) - positive
        share = valid * (get_world_size() / total.clamp(min=1))
        return self.loss_weight * (share * losses).sum()
