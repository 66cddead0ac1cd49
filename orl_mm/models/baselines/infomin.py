"""InfoMin: MoCo on stronger views, and on the shuffled crops of the image.

Tian et al. 2020, "What Makes for Good Views for Contrastive Learning?" (arXiv 2005.10243).
"""

import torch
import torch.nn.functional as F
from mmengine.dist import broadcast, get_rank, get_world_size
from mmpretrain.models import MoCo
from torch import Tensor, nn

from orl_mm.models.utils.distributed import gather_rows
from orl_mm.models.utils.feature_queue import enqueue
from orl_mm.models.utils.host_counted_ema import HostCountedEMA
from orl_mm.registry import MODELS
from orl_mm.structures.to_device import to_device


@MODELS.register_module()
class InfoMin(MoCo):
    """mmpretrain's MoCo with PIRL's jigsaw branch.

    The shuffled crops of an image are encoded one by one and projected together
    (``JigsawNeck``); this query is compared with the same key and the same queue as the
    query of view 1. The momentum encoder only sees view 2.

    Unlike MoCo's, the queue may have any length, and nothing waits for the device. Batches are
    shuffled among GPUs by torch's global generator, as in MoCo, so bit-equal resuming needs
    ``SeedStepHook``. All ranks need batches of one size.

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
        online = nn.Sequential(self.backbone, self.neck)
        self.encoder_k: HostCountedEMA = HostCountedEMA(online, self.encoder_k.momentum)

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
        x1, x2, stack = self._three(inputs)
        queries = F.normalize(self.neck(self.backbone(x1))[0], dim=1)
        keys = self._keys(x2)
        views_loss = self._contrast(queries, keys)

        # The crops are compared with the same queue, before these keys enter it.
        crops = stack.unflatten(2, (self.jigsaw_neck.num_crops, -1)).transpose(1, 2).flatten(0, 1)
        queries = F.normalize(self.jigsaw_neck(self.backbone(crops))[0], dim=1)
        jigsaw_loss = self._contrast(queries, keys)

        enqueue(self.queue.t(), self.queue_ptr, self._everywhere(keys))
        return dict(
            loss_views=(1 - self.jigsaw_weight) * views_loss,
            loss_jigsaw=self.jigsaw_weight * jigsaw_loss,
        )

    @torch.no_grad()
    def _keys(self, view: Tensor) -> Tensor:
        """Keys (B, D) of the updated momentum encoder, each batch shuffled among the ranks.

        mmpretrain's functions of this purpose wait for the order of the shuffle.
        """
        self.encoder_k.update_parameters(nn.Sequential(self.backbone, self.neck))
        ranks, mine = get_world_size(), get_rank()
        order = to_device(torch.randperm(len(view) * ranks), view.device)
        broadcast(order, src=0)
        shuffled = self._everywhere(view)[order.view(ranks, -1)[mine]]
        keys = F.normalize(self.encoder_k(shuffled)[0], dim=1)
        return self._everywhere(keys)[order.argsort().view(ranks, -1)[mine]]

    def _contrast(self, queries: Tensor, keys: Tensor) -> Tensor:
        """The head's loss; its own method copies the labels from the host."""
        positive = torch.einsum('nc,nc->n', queries, keys)[:, None]
        negative = torch.einsum('nc,ck->nk', queries, self.queue.clone())
        logits = torch.cat([positive, negative], 1) / self.head.temperature
        labels = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        return self.head.loss_module(logits, labels)

    @staticmethod
    def _everywhere(rows: Tensor) -> Tensor:
        """The rows of all ranks."""
        return gather_rows(rows, [len(rows)] * get_world_size())

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
