"""PixPro: consistency of the pixels of two views that show the same place.

Xie et al. 2021, "Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised
Visual Representation Learning" (arXiv 2011.10043).
"""

import torch
from torch import Tensor
from torch.nn.modules.utils import _pair

from orl_mm.models.selfsup.siamese import SiameseModel
from orl_mm.models.utils.views import Size, cell_centers
from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch


@MODELS.register_module()
class PixPro(SiameseModel):
    """Consistency of a view's propagated pixels with the other view's target pixels.

    BYOL without global pooling: the predictor is the pixel propagation module, and a cell of
    one view learns from the cells of the other that lie near it in the image (sections 3.1
    and 3.2). ``MomentumUpdateHook`` sets the momentum before each step; the target is updated
    after the online network has seen the views and before the target does, as in the public
    code. Each view has its own batch statistics.

    Args:
        backbone, neck, head (dict): The online network: encoder, a projector that keeps the
            grid (``PixelMLP``), a ``PixelPropagationHead``.
        pos_ratio (float): See ``ratio`` of :func:`near_cells`; 0.7 in paper and code.
        **kwargs: See ``SiameseModel``.

    Raises:
        ValueError: ``pos_ratio`` is not above 0.

    Source: github.com/zdaxie/PixPro, contrast/models/PixPro.py.
    """

    target_update = 'before_target_forward'  # read by MomentumUpdateHook

    def __init__(
        self, backbone: dict, neck: dict, head: dict, pos_ratio: float = 0.7, **kwargs
    ) -> None:
        if pos_ratio <= 0:
            raise ValueError(f'pos_ratio must be above 0, got {pos_ratio}: no pair is nearer')
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        self.pos_ratio = pos_ratio
        self.make_target()

    def loss(
        self, inputs: list[Tensor], data_samples: RegionBatch | list, **kwargs
    ) -> dict[str, Tensor]:
        """One training step.

        Args:
            inputs (list): Two views (B, 3, H, W), normalized.
            data_samples (RegionBatch or list): Their boxes, (B, 2, 5).

        Returns:
            dict: ``loss``.
        """
        views = self.take_inputs(
            inputs,
            2,
            'two views',
            'let orl_mm.MultiViewWithGeometry cut num_views=[1, 1], without GenerateSuperpixels',
        )
        if views[0].shape != views[1].shape:
            raise ValueError(
                'both views of PixPro need the same size, got '
                f'{tuple(views[0].shape)} and {tuple(views[1].shape)}'
            )
        first, second = self.take_boxes(data_samples, views[0]).unbind(1)

        # x of the paper, and y, what propagation makes of it.
        projections = [self.neck((self.backbone(view)[-1],))[0] for view in views]
        predictions = [self.head.predict(x) for x in projections]

        with torch.no_grad():
            self.update_target_if_pending()
            targets = [
                self.target_part('neck')((self.target_part('backbone')(view)[-1],))[0]
                for view in views
            ]

        positive = near_cells(first, second, projections[0].shape[-2:], self.pos_ratio)
        return dict(loss=self.head.loss(predictions, targets, positive))


def near_cells(first: Tensor, second: Tensor, size: Size, ratio: float) -> Tensor:
    """Pairs of cells of two views that show nearly the same place: the positives.

    The distance of their centers is below ``ratio`` times the diagonal of a cell of the view
    with the larger cells (equation 1 of arXiv 2011.10043). Distances and diagonals are in
    shares of the image, as in the public code, so "near" is an ellipse if the image is not
    square. For distances in pixels multiply both views by (W, H, W, H, 1) first.

    Args:
        first, second (Tensor): (B, 5), two views of the same images.
        size (int or tuple): (h, w) of both grids.
        ratio (float): T of the paper, 0.7.

    Returns:
        Tensor: (B, h * w, h * w) bool: cells of ``first``, cells of ``second``.

    Raises:
        ValueError: The views are not (B, 5) both.

    Source: ``regression_loss`` of github.com/zdaxie/PixPro, contrast/models/PixPro.py.
    """
    if first.shape != second.shape or first.dim() != 2:
        raise ValueError(
            'two views of the same images are (B, 5) and (B, 5), got '
            f'{tuple(first.shape)} and {tuple(second.shape)}'
        )
    a, b = (cell_centers(v, size).flatten(1, 2) for v in (first, second))
    squared = (a.unsqueeze(2) - b.unsqueeze(1)).square_().sum(-1)
    largest = torch.maximum(_squared_diagonal(first, size), _squared_diagonal(second, size))
    return squared < (ratio * ratio) * largest[:, None, None]


def _squared_diagonal(views: Tensor, size: Size) -> Tensor:
    """(B,): that of one cell, in shares of the image."""
    h, w = _pair(size)
    x1, y1, x2, y2, _ = views.unbind(-1)
    return ((x2 - x1) / w).square() + ((y2 - y1) / h).square()
