"""The projection and prediction MLP on rows that may be none."""

from collections.abc import Sequence

from mmpretrain.models.necks import NonLinearNeck
from torch import Tensor, nn

from orl_mm.registry import MODELS


@MODELS.register_module()
class RegionMLP(NonLinearNeck):
    """``NonLinearNeck`` without pooling, for any number of rows, none included.

    The stock class reshapes to ``(rows, -1)``, which has no meaning for zero rows;
    a rank without a valid region sends zero rows through its networks, because
    its synchronised batch norms must enter the same collectives as the others'.

    Args:
        in_channels, hid_channels, out_channels (int): Widths.
        **kwargs: See mmpretrain's ``NonLinearNeck``; parameter names are the same.
    """

    def __init__(self, in_channels: int, hid_channels: int, out_channels: int, **kwargs) -> None:
        kwargs.setdefault('with_avg_pool', False)
        super().__init__(in_channels, hid_channels, out_channels, **kwargs)

    def forward(self, x: Sequence[Tensor]) -> tuple[Tensor]:
        """``((R, C), )`` to ``((R, D), )``."""
        rows = self._normalize(self.bn0, self.fc0(x[0]))
        for fc, bn in zip(self.fc_names, self.bn_names, strict=False):
            rows = getattr(self, fc)(self.relu(rows))
            if bn is not None:
                rows = self._normalize(getattr(self, bn), rows)
        return (rows,)

    @staticmethod
    def _normalize(norm: nn.Module, rows: Tensor) -> Tensor:
        # Of no rows SyncBatchNorm gathers statistics in the dtype of the input, of
        # some rows in fp32: under autocast the ranks' messages would differ in size.
        return norm(rows if len(rows) else rows.float())
