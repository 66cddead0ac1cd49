"""VADeR: contrast of pixels that two views share with pixels of other images.

Pinheiro et al. 2020, "Unsupervised Learning of Dense Visual Representations" (arXiv
2011.05499).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.utils import _pair

from orl_mm.models.selfsup.siamese import SiameseModel
from orl_mm.models.utils.distributed import gather_valid
from orl_mm.models.utils.feature_queue import FeatureQueue
from orl_mm.models.utils.views import Size, cell_centers
from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch


@MODELS.register_module()
class VADeR(SiameseModel):
    """Contrast of matched pixels between two views, against a queue of earlier ones.

    Encoder and decoder give a feature for each cell of a fine grid (a "pixel"). Cells of
    view 1 that view 2 shows as well are drawn. The positive of each is the target
    network's feature of the cell of view 2 that its center lies in, its negatives are in
    the queue. An image whose views share nothing adds nothing to loss and queue. Pixels are
    drawn by torch's global generator, so bit-equal resuming needs ``SeedStepHook``.
    ``MomentumUpdateHook`` updates the target. All ranks need batches of one size.

    Args:
        backbone (dict): Encoder; start it from MoCo with an ``init_cfg`` of type
            ``orl_mm.PretrainedBackbone``.
        neck (dict): Decoder, such as ``PyramidDecoder``.
        head (dict): ``PixelContrastHead``.
        num_pairs (int): P, pixels of an image.
        queue_len (int): K, negatives.
        **kwargs: See ``SiameseModel``.

    Raises:
        ValueError: Fewer than one pixel, or an empty queue.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        num_pairs: int = 32,
        queue_len: int = 65536,
        **kwargs,
    ) -> None:
        if num_pairs < 1:
            raise ValueError(f'num_pairs must be at least 1, got {num_pairs}')
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        self.num_pairs = num_pairs
        self.queue = FeatureQueue(queue_len, self.neck.out_channels)
        self.make_target()

    def loss(
        self, inputs: list[Tensor], data_samples: RegionBatch | list, **kwargs
    ) -> dict[str, Tensor]:
        """One training step on two views.

        Args:
            inputs (list): Two (B, 3, H, W), normalized.
            data_samples (RegionBatch or list): The boxes of the views.

        Returns:
            dict: ``loss``.
        """
        x1, x2 = self.take_inputs(
            inputs, 2, 'two views', 'use orl_mm.MultiViewWithGeometry with num_views=[2], and no x0'
        )
        boxes = self.take_boxes(data_samples, x1)

        # Pixel features f of view 1, and g of view 2 by the moving averages.
        online = self.neck(self.backbone(x1))[-1]
        with torch.no_grad():
            target = self.target_part('neck')(self.target_part('backbone')(x2))[-1]

        # P pixels of each image that both views show.
        pairs = draw_pixel_pairs(boxes, online.shape[-2:], self.num_pairs, target.shape[-2:])
        queries = self._unit(take_cells(online, pairs.first))
        keys = self._unit(take_cells(target, pairs.second)).detach()
        valid = pairs.valid.flatten()

        # Each is told from the pixels of earlier steps, which it joins afterwards.
        all_keys, all_valid = gather_valid(keys, valid)
        loss = self.head.loss(queries, keys, self.queue(), valid, all_valid.sum())
        self.queue.push(all_keys, all_valid)
        return dict(loss=loss)

    @staticmethod
    def _unit(pixels: Tensor) -> Tensor:
        """(B, P, D) -> (B * P, D) of unit length, fp32."""
        return F.normalize(pixels.flatten(0, 1).float(), dim=1)


class PixelPairs(NamedTuple):
    """P pairs of cells of each image; where ``valid`` is False, the indices mean nothing."""

    first: Tensor  # (B, P) int64, cells of view 1, row by row
    second: Tensor  # (B, P) int64, cells of view 2
    valid: Tensor  # (B, P) bool: both views show the cell; False beyond the shared cells


def match_cells(views: Tensor, size: Size, other_size: Size | None = None) -> tuple[Tensor, Tensor]:
    """For each cell of view 1, the cell of view 2 that its center lies in.

    A place that lies on the edge of two cells may fall to either.

    Args:
        views (Tensor): (B, 2, 5): x1, y1, x2, y2 in [0, 1] of the whole image and flip 0 /
            1, of view 1 and view 2.
        size (int or tuple): (h, w) of the grid of view 1.
        other_size (int or tuple, optional): That of view 2; None: the same.

    Returns:
        tuple: (B, h * w) int64 cells of view 2, and (B, h * w) bool: view 2 shows this center.

    Raises:
        ValueError: ``views`` is not (B, 2, 5).
    """
    if views.dim() != 3 or views.shape[1:] != (2, 5):
        raise ValueError(
            'views must be (B, 2, 5), x1, y1, x2, y2 and flip of two views, got '
            f'{tuple(views.shape)}'
        )
    h, w = _pair(size if other_size is None else other_size)
    centers = cell_centers(views[:, 0].float(), size).flatten(1, 2)
    x1, y1, x2, y2, flip = views[:, 1, :, None].float().unbind(1)
    x = (centers[..., 0] - x1) / (x2 - x1)
    y = (centers[..., 1] - y1) / (y2 - y1)
    x = torch.where(flip.bool(), 1 - x, x)
    shown = (x >= 0) & (x < 1) & (y >= 0) & (y < 1)
    cells = (y * h).long().clamp(0, h - 1) * w + (x * w).long().clamp(0, w - 1)
    return cells, shown


def draw_pixel_pairs(
    views: Tensor,
    size: Size,
    num_pairs: int,
    other_size: Size | None = None,
    generator: torch.Generator | None = None,
) -> PixelPairs:
    """Draw cells of view 1 that view 2 shows, uniformly and without replacement.

    Args:
        views, size, other_size: See :func:`match_cells`.
        num_pairs (int): P, at most the number of cells.
        generator (torch.Generator, optional): On the device of ``views``. None: the
            device's global one.
    """
    cells, shown = match_cells(views, size, other_size)
    scores = torch.rand(shown.shape, generator=generator, device=shown.device)
    scores, first = scores.masked_fill(~shown, -1.0).topk(min(num_pairs, shown.shape[1]), dim=1)
    return PixelPairs(first, cells.gather(1, first), scores >= 0)


def take_cells(feats: Tensor, cells: Tensor) -> Tensor:
    """The features of some cells: (B, D, h, w) and (B, P) -> (B, P, D)."""
    index = cells[:, None].expand(-1, feats.shape[1], -1)
    return feats.flatten(2).gather(2, index).transpose(1, 2)
