"""Predict the target's projection of each region from the online one."""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor

from orl_mm.models.utils import RegionPairs
from orl_mm.models.utils.norms import few_rows
from orl_mm.registry import MODELS


class BaseRegionHead(BaseModule, metaclass=ABCMeta):
    """A predictor on region vectors, and a loss in both directions that a subclass defines.

    Args:
        predictor (dict): Config of a neck that maps ``((R, D), )`` to the same.
        symmetric (str): ``'sum'`` of both directions, as BYOL and MoCo v3, or
            their ``'mean'``, as SimSiam.
        init_cfg (dict, optional): See mmengine's ``BaseModule``.
    """

    def __init__(
        self, predictor: dict, symmetric: str = 'sum', init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        if symmetric not in ('sum', 'mean'):
            raise ValueError(f"symmetric must be 'sum' or 'mean', got {symmetric!r}")
        self.predictor = MODELS.build(predictor)
        self.symmetric = symmetric

    def predict(self, projections: Tensor, pairs: RegionPairs, num_views: int) -> Tensor:
        """q of the rows (R, D) of ``num_views`` views."""
        with few_rows(self.predictor, num_views * pairs.local_rows, num_views * pairs.total_rows):
            return self.predictor((projections,))[0]

    def loss(
        self, predictions: Sequence[Tensor], targets: Sequence[Tensor], pairs: RegionPairs
    ) -> Tensor:
        """The loss over both directions.

        Args:
            predictions (sequence): Two (R, D): online, view 1 and view 2.
            targets (sequence): Two (R, D): what each of them should predict.
            pairs (RegionPairs): The regions that the rows belong to.

        Returns:
            Tensor: Scalar; 0 but connected to the predictions when R = 0.
        """
        terms = torch.stack(self.directions(predictions, targets, pairs))
        return terms.mean() if self.symmetric == 'mean' else terms.sum()

    @abstractmethod
    def directions(
        self, predictions: Sequence[Tensor], targets: Sequence[Tensor], pairs: RegionPairs
    ) -> list[Tensor]:
        """One scalar for each direction; arguments as in :meth:`loss`."""


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
            for pred, target in zip(predictions, targets, strict=True)
        ]
