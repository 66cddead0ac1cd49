"""DetCon_B's predictor and its contrast over all sampled regions."""

from collections.abc import Sequence

from mmengine.dist import get_world_size
from mmengine.model import BaseModule
from torch import Tensor

from orl_mm.models.utils.norms import few_rows
from orl_mm.registry import MODELS


@MODELS.register_module()
class DetConHead(BaseModule):
    """Predict the target's projection of each sampled region, told from all others.

    Args:
        predictor (dict): Config of a neck that maps ``((rows, D), )`` to the same.
        loss (dict): :class:`DetConLoss`, or another loss with its arguments.
        init_cfg (dict, optional): See mmengine's ``BaseModule``.
    """

    def __init__(self, predictor: dict, loss: dict, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.predictor = MODELS.build(predictor)
        self.loss_module = MODELS.build(loss)

    def predict(self, projections: Tensor) -> Tensor:
        """q of the rows (B * R, D) of one view, or of both where they share statistics."""
        rows = len(projections)
        with few_rows(self.predictor, rows, rows * get_world_size()):
            return self.predictor((projections,))[0]

    def loss(
        self,
        predictions: Sequence[Tensor],
        targets: Sequence[Tensor],
        ids: Sequence[Tensor],
        target_ids: Sequence[Tensor],
    ) -> Tensor:
        """The loss over both directions.

        Args:
            predictions, targets (sequence): Two (B * R, D), view 1 and view 2.
            ids, target_ids (sequence): Two (B, R): the regions of their rows.

        Returns:
            Tensor: Scalar.
        """

        def by_image(rows, regions):
            return [r.unflatten(0, i.shape) for r, i in zip(rows, regions, strict=False)]

        return self.loss_module(
            by_image(predictions, ids), by_image(targets, target_ids), ids, target_ids
        )
