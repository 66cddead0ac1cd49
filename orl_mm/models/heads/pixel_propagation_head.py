"""PixPro's pixel propagation module and its consistency between two views."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from orl_mm.models.utils.pixels import pixel_consistency, propagate
from orl_mm.registry import MODELS


@MODELS.register_module()
class PixelPropagationHead(BaseModule):
    """Smooth each cell by those that resemble it; agree with the target where views meet.

    Section 3.2 of arXiv 2011.10043. The module takes the place of BYOL's predictor: it alone
    makes the online branch differ from the target's.

    Args:
        channels (int): D of the projections. Defaults to 256.
        power (float): gamma, how much sharper than the cosine the similarity is. Defaults to 2.
        init_cfg (dict, optional): See mmengine's ``BaseModule``.

    Raises:
        ValueError: ``power`` is not above 0.
    """

    def __init__(
        self, channels: int = 256, power: float = 2.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        if power <= 0:
            raise ValueError(f'power must be above 0, got {power}; 0 would weigh all cells alike')
        # g of the paper: one 1x1 convolution, as a linear layer on cells.
        self.transform = nn.Linear(channels, channels)
        self.power = power

    def predict(self, projections: Tensor) -> Tensor:
        """The propagated map of each projected map, (B, D, h, w) to (B, D, h, w), fp32."""
        cells = _by_cell(projections)
        out = propagate(cells, self.transform(cells), self.power)
        return out.transpose(1, 2).unflatten(2, projections.shape[-2:])

    def loss(
        self, predictions: Sequence[Tensor], targets: Sequence[Tensor], positive: Tensor
    ) -> Tensor:
        """The loss over both directions: each view's prediction against the other's target.

        Args:
            predictions, targets (sequence): Two maps (B, D, h, w), view 1 and view 2; their
                lengths do not matter. No gradient goes to the targets.
            positive (Tensor): (B, h * w, h * w) bool, cells of view 1 against those of view 2.

        Returns:
            Tensor: Scalar in [-4, 4], the mean over the images.
        """
        first, second = (F.normalize(_by_cell(p).float(), dim=-1) for p in predictions)
        one, two = (F.normalize(_by_cell(t).detach().float(), dim=-1) for t in targets)
        return pixel_consistency(first, two, positive) + pixel_consistency(
            second, one, positive.transpose(1, 2)
        )


def _by_cell(maps: Tensor) -> Tensor:
    """(B, D, h, w) to (B, h * w, D); contiguous, for a map in channels-last memory."""
    return maps.flatten(2).transpose(1, 2)
