"""Features of one mean and one spread, for a linear layer on a frozen backbone."""

from collections.abc import Sequence

from torch import Tensor, nn

from orl_mm.registry import MODELS


@MODELS.register_module()
class FeatureNorm(nn.Module):
    """Batch normalization of feature maps, without weights of its own.

    What a linear layer learns on frozen features in a given number of steps depends on their
    scale, which differs between pretrainings by orders of magnitude (random weights have never
    seen their statistics). Normalized features make the comparison one of content; the layer
    on top can undo it, so it is no less linear. As in the linear probes of MAE
    (arXiv 2111.06377, appendix A.1).

    Args:
        in_channels (int | Sequence[int]): Of each map.
    """

    def __init__(self, in_channels: int | Sequence[int]) -> None:
        super().__init__()
        channels = [in_channels] if isinstance(in_channels, int) else list(in_channels)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c, affine=False) for c in channels)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps (B, C_i, H_i, W_i), in the order of ``in_channels``.

        Raises:
            ValueError: Another number of maps.
        """
        if len(inputs) != len(self.norms):
            raise ValueError(
                f'{len(inputs)} feature maps for in_channels of {len(self.norms)}: '
                'give the channels of each'
            )
        return tuple(norm(x) for norm, x in zip(self.norms, inputs, strict=False))
