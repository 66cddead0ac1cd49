"""Predict the target's projection of each region from the online one."""

from typing import List, Optional, Sequence

from mmengine.model import BaseModule
from torch import Tensor

from orl_mm.models.utils import RegionPairs
from orl_mm.models.utils.norms import few_rows
from orl_mm.registry import MODELS


@MODELS.register_module()
class RegionPredictHead(BaseModule):
    """The prediction head q of BYOL and SimSiam, per region (equations 2.4, 2.5).

    Args:
        predictor (dict): Config of a neck that maps ``((R, D), )`` to the same.
        loss (dict): Config of a loss ``(pred, target, weights) -> scalar`` with an
            attribute ``average``, such as :class:`RegionCosineLoss`.
        symmetric (str): ``'sum'`` of both directions, as BYOL, or their ``'mean'``.
        init_cfg (dict, optional): See mmengine's ``BaseModule``.
    """

    def __init__(self, predictor: dict, loss: dict, symmetric: str = 'sum',
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        if symmetric not in ('sum', 'mean'):
            raise ValueError(f"symmetric must be 'sum' or 'mean', got {symmetric!r}")
        self.predictor = MODELS.build(predictor)
        self.loss_module = MODELS.build(loss)
        self.symmetric = symmetric

    def predict(self, projections: Tensor, pairs: RegionPairs, num_views: int) -> Tensor:
        """q of the rows (R, D) of ``num_views`` views."""
        with few_rows(self.predictor, num_views * pairs.local_rows,
                      num_views * pairs.total_rows):
            return self.predictor((projections, ))[0]

    def loss(self, predictions: Sequence[Tensor], targets: Sequence[Tensor],
             pairs: RegionPairs) -> Tensor:
        """The loss over both directions.

        Args:
            predictions (sequence): Two (R, D): online, view 1 and view 2.
            targets (sequence): Two (R, D): what each of them should predict.
            pairs (RegionPairs): Whose rows these are.

        Returns:
            Tensor: Scalar.
        """
        weights = pairs.weights(self.loss_module.average)
        terms: List[Tensor] = [self.loss_module(pred, target, weights)
                               for pred, target in zip(predictions, targets)]
        return sum(terms) / (len(terms) if self.symmetric == 'mean' else 1)
