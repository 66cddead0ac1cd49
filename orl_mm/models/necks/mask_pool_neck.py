"""One vector per region: mask pooling, then any projector."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor

from orl_mm.models.utils import RegionPairs, mask_pool
from orl_mm.models.utils.norms import few_rows
from orl_mm.registry import MODELS


@MODELS.register_module()
class MaskPoolNeck(BaseModule):
    """Pool features inside each mask (equations 2.1, 2.2) and project them (2.3).

    In place of the global pooling of an image-level neck. Without masks the
    whole image is the only region, so an image-level algorithm of mmpretrain
    can use it unchanged.

    Args:
        projector (dict): Config of any neck that maps ``((R, C), )`` to
            ``((R, D), )``, such as :class:`RegionMLP`, or mmpretrain's
            ``NonLinearNeck`` with ``with_avg_pool=False`` where there is always a
            region. Its batch norms see only the regions that exist, and use
            running statistics where there are fewer than two.
        min_area (float): See :func:`~orl_mm.models.utils.mask_pool`. 0: the mean
            of equation 2.1. 1: the public code.
        init_cfg (dict, optional): See mmengine's ``BaseModule``.
    """

    def __init__(
        self, projector: dict, min_area: float = 0.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        if min_area < 0:
            raise ValueError(f'min_area must be >= 0, got {min_area}')
        self.projector = MODELS.build(projector)
        self.min_area = min_area

    def forward(
        self,
        feats: Tensor | Sequence[Tensor],
        masks: Tensor | None = None,
        pairs: RegionPairs | None = None,
    ) -> tuple[Tensor]:
        """Vectors of the regions in use.

        Args:
            feats (Tensor or sequence): (B, C, h, w), or a backbone's output, of
                which the last map is taken.
            masks (Tensor, optional): (B, K, h, w). None: the whole image.
            pairs (RegionPairs, optional): Which rows are in use; B may hold
                several views, one after the other. None: all of them.

        Returns:
            tuple: One tensor (R, D), views after another, then images, then regions.
        """
        if not isinstance(feats, Tensor):
            feats = feats[-1]
        if masks is None:
            masks = feats.new_ones(len(feats), 1, *feats.shape[-2:])
        pooled = mask_pool(feats, masks, self.min_area).flatten(0, 1)
        if pairs is None:
            local = total = len(pooled)
        else:
            views = len(feats) // len(pairs.valid)
            rows = pairs.rows(views)
            pooled = pooled.index_select(0, rows)
            local, total = views * pairs.local_rows, views * pairs.total_rows
        with few_rows(self.projector, local, total):
            return (_only(self.projector((pooled,))),)


def _only(out: Tensor | Sequence[Tensor]) -> Tensor:
    return out if isinstance(out, torch.Tensor) else out[0]
