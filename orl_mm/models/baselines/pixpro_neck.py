"""The projection MLP on every cell of a feature map."""

from collections.abc import Sequence

from torch import Tensor

from orl_mm.models.necks.region_mlp import RegionMLP
from orl_mm.registry import MODELS


@MODELS.register_module()
class PixelMLP(RegionMLP):
    """1x1 convolutions with batch norm over the grid: a map in, a map out.

    What ``Conv2d(kernel_size=1)``, ``BatchNorm2d``, ``ReLU``, ``Conv2d(kernel_size=1)`` compute,
    as linear layers on the B * h * w cells, which is faster on a CPU. A convolution's weight
    (out, in, 1, 1) fits after ``.flatten(1)``.

    Args:
        in_channels, hid_channels, out_channels (int): Widths.
        **kwargs: See mmpretrain's ``NonLinearNeck``; parameter names are the same.
    """

    def forward(self, x: Tensor | Sequence[Tensor]) -> tuple[Tensor]:
        """(B, C, h, w), or a backbone's output, of which the last map is taken, to
        ``((B, D, h, w), )`` in channels-last memory."""
        feats = x if isinstance(x, Tensor) else x[-1]
        by_cell = feats.permute(0, 2, 3, 1)
        (rows,) = super().forward((by_cell.reshape(-1, feats.shape[1]),))
        return (rows.view(*by_cell.shape[:3], -1).permute(0, 3, 1, 2),)
