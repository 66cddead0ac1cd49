"""VADeR: a pixel looks the same in every view, and unlike the pixels of other images.

Pinheiro et al. 2020, "Unsupervised Learning of Dense Visual Representations" (arXiv
2011.05499).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orl_mm.models.utils.feature_queue import FeatureQueue, gather_valid
from orl_mm.models.utils.pixel_pairs import draw_pixel_pairs, take_cells
from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch

from .momentum_target import MomentumTarget


@MODELS.register_module()
class VADeR(MomentumTarget):
    """Contrast of matched pixels between two views, against a queue of earlier ones.

    Encoder and decoder give a feature for each cell of a fine grid (a "pixel"). Of view 1,
    cells that view 2 shows as well are drawn; each is told from the queue by the feature
    of the cell of view 2 that its centre lies in, which the moving averages of encoder and
    decoder give. An image whose views share nothing adds nothing to loss and queue. Pixels
    are drawn by torch's global generator, so a run that is to be resumed bit for bit needs
    ``SeedStepHook``. ``MomentumUpdateHook`` moves the averages. All ranks need batches of
    one size.

    Args:
        backbone (dict): Encoder; start it from MoCo with an ``init_cfg`` of type
            ``orl_mm.PretrainedBackbone``.
        neck (dict): Decoder, such as ``PyramidDecoder``.
        head (dict): ``PixelContrastHead``.
        num_pairs (int): P, pixels of an image.
        queue_len (int): K, negatives.
        pretrained, data_preprocessor, init_cfg: See ``BaseSelfSupervisor``; the default
            preprocessor is ``RegionDataPreprocessor``.

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
        pretrained: str | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: list[dict] | dict | None = None,
    ) -> None:
        if num_pairs < 1:
            raise ValueError(f'num_pairs must be at least 1, got {num_pairs}')
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            pretrained=pretrained,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.num_pairs = num_pairs
        self.queue = FeatureQueue(queue_len, self.neck.out_channels)
        self.make_target(('backbone', 'neck'))

    def loss(
        self, inputs: list[Tensor], data_samples: RegionBatch | list, **kwargs
    ) -> dict[str, Tensor]:
        """One training step on two views.

        Args:
            inputs (list): Two (B, 3, H, W), normalised.
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
            target = self.target['neck'](self.target['backbone'](x2))[-1]

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
