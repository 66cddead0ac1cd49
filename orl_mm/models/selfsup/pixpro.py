"""PixPro: pixels of two views that show the same place agree, after propagation.

Xie et al. 2021, "Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised
Visual Representation Learning" (arXiv 2011.10043).
"""

import torch
from torch import Tensor, nn

from orl_mm.models.utils import near_cells
from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch

from .momentum_target import MomentumTarget


@MODELS.register_module()
class PixPro(MomentumTarget):
    """Consistency of a view's propagated pixels with the other view's target pixels.

    BYOL without global pooling: the predictor is the pixel propagation module, and a cell of
    one view learns from the cells of the other that lie near it in the image (sections 3.1
    and 3.2). ``MomentumUpdateHook`` hands the momentum over before each step; the target moves
    between the online network's views and its own, as in the public code. Each view has its
    own batch statistics.

    The loss is a mean over the images of this process, so that its mean over processes,
    which see as many images each, is that of the joined batch: nothing is gathered.

    Args:
        backbone, neck, head (dict): The online network: encoder, a projector that keeps the
            grid (``PixelMLP``), a ``PixelPropagationHead``.
        pos_ratio (float): Two cells are a positive pair where their centres, in the image,
            are nearer than this part of the diagonal of the larger view's cells. 0.7 is the
            paper's and the code's.
        pretrained, data_preprocessor, init_cfg: See ``BaseSelfSupervisor``; the default
            preprocessor is ``RegionDataPreprocessor``.

    Raises:
        ValueError: ``pos_ratio`` is not above 0.

    Source: github.com/zdaxie/PixPro, contrast/models/PixPro.py.
    """

    target_update = 'before_target_forward'  # read by MomentumUpdateHook

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        pos_ratio: float = 0.7,
        pretrained: str | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: list[dict] | dict | None = None,
    ) -> None:
        if pos_ratio <= 0:
            raise ValueError(f'pos_ratio must be above 0, got {pos_ratio}: no pair is nearer')
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            pretrained=pretrained,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.pos_ratio = pos_ratio
        self.make_target(('backbone', 'neck'))

    def loss(
        self, inputs: list[Tensor], data_samples: RegionBatch | list, **kwargs
    ) -> dict[str, Tensor]:
        """One training step.

        Args:
            inputs (list): Two views (B, 3, H, W), normalised.
            data_samples (RegionBatch or list): Their boxes, (B, 2, 5).

        Returns:
            dict: ``loss``.
        """
        views = self._two(inputs)
        first, second = self.take_boxes(data_samples, views[0]).unbind(1)

        # x of the paper, and y, what propagation makes of it.
        projections = [self.neck((self.backbone(view)[-1],))[0] for view in views]
        predictions = [self.head.predict(x) for x in projections]

        with torch.no_grad():
            self.update_target_if_pending()
            targets = [
                self.target['neck']((self.target['backbone'](view)[-1],))[0] for view in views
            ]

        positive = near_cells(first, second, projections[0].shape[-2:], self.pos_ratio)
        return dict(loss=self.head.loss(predictions, targets, positive))

    def _two(self, inputs: Tensor | list[Tensor]) -> list[Tensor]:
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
        return views
