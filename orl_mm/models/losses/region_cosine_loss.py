"""Similarity between two descriptions of each region."""

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from orl_mm.registry import MODELS


@MODELS.register_module()
class RegionCosineLoss(BaseModule):
    """``shift - scale * cos`` per region, weighted over the mini-batch (equations 2.4, 2.5).

    Args:
        shift (float): 2 for BYOL (``2 - 2 cos``), 0 for SimSiam (``-cos``).
        scale (float): 2 for BYOL, 1 for SimSiam.
        average (str): ``'image'``: over the M' regions of an image, then over
            images. ``'region'``: over all regions (the public code).
    """

    def __init__(self, shift: float = 2.0, scale: float = 2.0, average: str = 'image') -> None:
        super().__init__()
        if average not in ('image', 'region'):
            raise ValueError(f"average must be 'image' or 'region', got {average!r}")
        self.shift, self.scale, self.average = shift, scale, average

    def forward(self, pred: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """
        Args:
            pred (Tensor): (R, D), any float type; compared in fp32.
            target (Tensor): (R, D); no gradient.
            weights (Tensor): (R,) of :meth:`RegionPairs.weights`.

        Returns:
            Tensor: Scalar; 0 but connected to ``pred`` when R = 0.
        """
        pred = F.normalize(pred.float(), dim=-1)
        target = F.normalize(target.detach().float(), dim=-1)
        cosine = (pred * target).sum(-1)
        return (weights * (self.shift - self.scale * cosine)).sum()
