"""One DINO training step as users of lightly write it, where lightly is installed.

After the example and the ImageNet benchmark of lightly 1.6: its head, its loss, its
``update_momentum``, one view at a time, the gradients clipped together at 3. lightly brings no
ViT, so it stands around torchvision's, of the same size, whose attention is torch's too.
"""

import copy
from typing import Optional

import torch
from torch import Tensor, nn


def lightly_step(
    crops: list[Tensor], out: int, dim: int = 384, depth: int = 12
) -> Optional['LightlyStep']:
    """The step; None where lightly is not installed."""
    try:
        import lightly.loss
        import lightly.models
    except ModuleNotFoundError:
        return None
    return LightlyStep(lightly, crops, out, dim, depth)


class LightlyStep:
    """Teacher, student, loss with its centre, clipping, AdamW, moving average."""

    def __init__(self, lightly, crops: list[Tensor], out: int, dim: int, depth: int) -> None:
        from lightly.models.modules import DINOProjectionHead
        from torchvision.models import VisionTransformer

        self.lightly, self.crops = lightly, crops
        backbone = VisionTransformer(crops[0].shape[-1], 16, depth, 6, dim, 4 * dim)
        backbone.heads = nn.Identity()
        device = crops[0].device
        heads = [DINOProjectionHead(dim, 2048, 256, out, freeze_last_layer=1) for _ in range(2)]
        self.student = nn.Sequential(backbone, heads[0]).to(device)
        self.teacher = nn.Sequential(copy.deepcopy(backbone), heads[1]).to(device)
        self.teacher.requires_grad_(False)
        self.loss = lightly.loss.DINOLoss(out).to(device)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=1e-4, weight_decay=0.04)

    def __call__(self) -> None:
        self.lightly.models.utils.update_momentum(self.student, self.teacher, m=0.996)
        with torch.no_grad():
            teacher = [self.teacher(view) for view in self.crops[:2]]
        student = [self.student(view) for view in self.crops]
        loss = self.loss(teacher, student, teacher_temp=0.04)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 3.0)
        self.optimizer.step()
