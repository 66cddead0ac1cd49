"""PixPro's pixel propagation module and the consistency of two views.

Shape shorthand: B images, N = h * w cells in the order of ``feats.flatten(2)``, D channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from orl_mm.registry import MODELS


@MODELS.register_module()
class PixelPropagationHead(BaseModule):
    """Pixel propagation in the place of BYOL's predictor, and the loss of both directions.

    Section 3.2 of arXiv 2011.10043.

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


def propagate(cells: Tensor, values: Tensor, power: float = 2.0) -> Tensor:
    """Each cell becomes the sum of all values, weighted by how similar their cells are.

    .. math:: y_i = \\sum_j \\max(\\cos(x_i, x_j), 0)^\\gamma \\, \\frac{v_j}{\\|v_j\\|}

    Equations 3 and 4 of arXiv 2011.10043; the sum includes j = i. In fp32, also under
    autocast.

    Args:
        cells (Tensor): (B, N, D), x.
        values (Tensor): (B, N, D'), v, the transformed cells; normalized here.
        power (float): gamma, above 0.

    Returns:
        Tensor: (B, N, D') float32, not normalized.

    Source: ``featprop`` of github.com/zdaxie/PixPro, contrast/models/PixPro.py.
    """
    with torch.autocast(cells.device.type, enabled=False):
        cells = F.normalize(cells.float(), dim=-1)
        similarity = torch.bmm(cells, cells.transpose(1, 2)).clamp(min=0.0)
        if power < 1.0:  # whose slope at 0 is infinite
            similarity = similarity + 1e-6
        return torch.bmm(similarity**power, F.normalize(values.float(), dim=-1))


def pixel_consistency(pred: Tensor, target: Tensor, positive: Tensor) -> Tensor:
    """-2 times the mean similarity of the positive pairs of an image, over all images.

    One direction of PixPro's loss, equation 5 of arXiv 2011.10043 times 2. An image without
    a positive pair counts as 0 among the others, as in the public code.

    Args:
        pred (Tensor): (B, N, D), of unit length.
        target (Tensor): (B, N', D), of unit length; no gradient.
        positive (Tensor): (B, N, N') bool, cells of ``pred`` against those of ``target``.

    Returns:
        Tensor: Scalar in [-2, 2]; 0, still connected to ``pred``, without any positive.

    Raises:
        ValueError: The shapes do not agree.

    Source: ``regression_loss`` of github.com/zdaxie/PixPro, contrast/models/PixPro.py.
    """
    if positive.shape != (*pred.shape[:2], target.shape[1]) or len(pred) != len(target):
        raise ValueError(
            f'pred {tuple(pred.shape)}, target {tuple(target.shape)} and positive '
            f'{tuple(positive.shape)} must be (B, N, D), (B, M, D) and (B, N, M)'
        )
    with torch.autocast(pred.device.type, enabled=False):
        weights = positive.float()
        weights = weights / weights.sum((1, 2), keepdim=True).clamp(min=1.0)
        # What each cell should agree with: the mean of its positives comes first, so that the
        # gradient needs no (N, N') matrix of its own.
        wanted = torch.bmm(weights, target.detach().float())
        return -2.0 * (pred.float() * wanted).sum() / len(pred)
