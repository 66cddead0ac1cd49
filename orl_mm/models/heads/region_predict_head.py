"""Predict the target's projection of each region from the online one."""

from collections.abc import Sequence

from torch import Tensor

from orl_mm.models.utils import RegionPairs
from orl_mm.registry import MODELS

from .base_region_head import BaseRegionHead


@MODELS.register_module()
class RegionPredictHead(BaseRegionHead):
    """The prediction head q of BYOL and SimSiam, per region (equations 2.4, 2.5).

    Args:
        predictor (dict): Config of a neck that maps ``((R, D), )`` to the same.
        loss (dict): Config of a loss ``(pred, target, weights) -> scalar`` with an
            attribute ``average``, such as :class:`RegionCosineLoss`.
        symmetric (str): ``'sum'`` of both directions, as BYOL, or their ``'mean'``.
        init_cfg (dict, optional): See mmengine's ``BaseModule``.
    """

    def __init__(
        self, predictor: dict, loss: dict, symmetric: str = 'sum', init_cfg: dict | None = None
    ) -> None:
        super().__init__(predictor, symmetric, init_cfg)
        self.loss_module = MODELS.build(loss)

    def directions(
        self, predictions: Sequence[Tensor], targets: Sequence[Tensor], pairs: RegionPairs
    ) -> list[Tensor]:
        weights = pairs.weights(self.loss_module.average)
        return [
            self.loss_module(pred, target, weights)
            for pred, target in zip(predictions, targets, strict=False)
        ]
