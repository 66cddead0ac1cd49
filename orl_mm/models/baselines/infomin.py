"""InfoMin: MoCo on stronger views, and on the shuffled crops of the image.

Tian et al. 2020, "What Makes for Good Views for Contrastive Learning?" (arXiv 2005.10243).
"""

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from mmpretrain.models import MoCo
from torch import Tensor

from orl_mm.models.utils.distributed import gather_rows
from orl_mm.models.utils.feature_queue import enqueue
from orl_mm.registry import MODELS


@MODELS.register_module()
class InfoMin(MoCo):
    """mmpretrain's MoCo with PIRL's jigsaw branch.

    The shuffled crops of an image are encoded one by one and projected together
    (``JigsawNeck``); this query is compared with the same key and the same queue as the
    query of view 1. The momentum encoder only sees view 2.

    Unlike MoCo's, the queue may have any length, and writing to it does not wait for the
    device. Batches are shuffled among GPUs by torch's global generator, as in MoCo, so
    bit-equal resuming needs ``SeedStepHook``. All ranks need batches of one size.

    Args:
        jigsaw_neck (dict): Config of ``JigsawNeck``.
        jigsaw_weight (float): beta in [0, 1]; the loss is (1 - beta) times that of the
            views plus beta times that of the crops.
        **kwargs: See mmpretrain's ``MoCo``.

    Raises:
        ValueError: ``jigsaw_weight`` outside [0, 1].

    Source: ``learning/contrast_trainer.py`` and ``memory/mem_moco.py`` of
    github.com/HobbitLong/PyContrast.
    """

    def __init__(self, *args, jigsaw_neck: dict, jigsaw_weight: float = 0.5, **kwargs) -> None:
        if not 0.0 <= jigsaw_weight <= 1.0:
            raise ValueError(
                f'jigsaw_weight must lie in [0, 1], got {jigsaw_weight}; the views '
                'have 1 - jigsaw_weight'
            )
        super().__init__(*args, **kwargs)
        self.jigsaw_neck = MODELS.build(jigsaw_neck)
        self.jigsaw_weight = jigsaw_weight
        self._keys: list[Tensor] = []

    def loss(
        self, inputs: list[Tensor], data_samples: list | None = None, **kwargs
    ) -> dict[str, Tensor]:
        """One training step on two views and the crops of the image.

        Args:
            inputs (list): Two (B, 3, H, W) and one (B, 3, n * S, S): n crops, one above
                the other.
            data_samples (list, optional): Not used.

        Returns:
            dict: ``loss_views`` and ``loss_jigsaw``, weighted.
        """
        *views, stack = self._three(inputs)
        views_loss = super().loss(views, data_samples, **kwargs)['loss']

        # MoCo has not queued its keys yet: the crops are compared with the same queue.
        keys = self._keys.pop()
        crops = stack.unflatten(2, (self.jigsaw_neck.num_crops, -1)).transpose(1, 2).flatten(0, 1)
        queries = F.normalize(self.jigsaw_neck(self.backbone(crops))[0], dim=1)
        positive = torch.einsum('nc,nc->n', queries, keys)[:, None]
        negative = torch.einsum('nc,ck->nk', queries, self.queue.clone())
        jigsaw_loss = self.head.loss(positive, negative)

        everywhere = gather_rows(keys, [len(keys)] * get_world_size())
        enqueue(self.queue.t(), self.queue_ptr, everywhere)
        return dict(
            loss_views=(1 - self.jigsaw_weight) * views_loss,
            loss_jigsaw=self.jigsaw_weight * jigsaw_loss,
        )

    def _dequeue_and_enqueue(self, keys: Tensor) -> None:
        """At the end of MoCo's step: hold back the keys (B, D) of this rank for the crops."""
        self._keys.append(keys)

    def _three(self, inputs: list[Tensor]) -> list[Tensor]:
        num = self.jigsaw_neck.num_crops
        if not isinstance(inputs, (list, tuple)) or len(inputs) != 3:
            found = len(inputs) if isinstance(inputs, (list, tuple)) else 'a single tensor'
            raise ValueError(
                f'InfoMin needs two views and the crops of the image, got {found}: '
                'use MultiView(num_views=[2, 1]), the second kind ending with '
                'orl_mm.JigsawCrops'
            )
        if inputs[2].shape[2] != num * inputs[2].shape[3]:
            raise ValueError(
                f'the third input must hold {num} square crops one above the other, '
                f'{num} times as high as wide, got {tuple(inputs[2].shape)}: '
                'JigsawCrops(grid) and JigsawNeck(num_crops=grid * grid) must agree'
            )
        return list(inputs)
