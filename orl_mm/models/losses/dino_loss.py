"""Cross-entropy between the centered, sharpened teacher and the student."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from orl_mm.registry import MODELS


@MODELS.register_module()
class DINOLoss(BaseModule):
    r"""Mean of H(P_t(x), P_s(x')) over each global crop x and each other crop x'.

    :math:`P_t = softmax((g_t - c) / \tau_t)` and :math:`P_s = softmax(g_s / \tau_s)` over
    K prototypes (section 3.2 of the thesis). With G global crops of V there are G (V - 1)
    terms. After each training step the center follows the mean teacher output over the
    images of all processes: :math:`c \leftarrow m c + (1 - m) \bar g_t`.

    The center is a buffer (1, K), so checkpoints carry it.

    Args:
        out_channels (int): K, that of the head.
        student_temp (float): :math:`\tau_s`.
        center_momentum (float): m.

    Raises:
        ValueError: A temperature that is not positive, or a momentum outside [0, 1].

    Source: arXiv 2104.14294, equations 2 to 4; ``main_dino.py`` of
    github.com/facebookresearch/dino.
    """

    def __init__(
        self, out_channels: int = 65536, student_temp: float = 0.1, center_momentum: float = 0.9
    ) -> None:
        super().__init__()
        if student_temp <= 0:
            raise ValueError(f'student_temp must be positive, got {student_temp}')
        if not 0 <= center_momentum <= 1:
            raise ValueError(f'center_momentum must lie in [0, 1], got {center_momentum}')
        self.student_temp, self.center_momentum = student_temp, center_momentum
        self.register_buffer('center', torch.zeros(1, out_channels))

    def forward(
        self, student: Tensor, teacher: Tensor, num_crops: int, num_global: int, teacher_temp: float
    ) -> Tensor:
        r"""
        Args:
            student (Tensor): (V B, K) of all crops, crop after crop, the global ones first.
            teacher (Tensor): (G B, K) of the global crops in the same order; no gradient.
            num_crops (int): V.
            num_global (int): G.
            teacher_temp (float): :math:`\tau_t`.

        Returns:
            Tensor: Scalar, fp32.

        Raises:
            ValueError: Rows, crops or prototypes that do not belong together.
        """
        self._check(student, teacher, num_crops, num_global)
        teacher = teacher.detach().float()
        targets = F.softmax((teacher - self.center) / teacher_temp, dim=-1).chunk(num_global)
        outputs = F.log_softmax(student.float() / self.student_temp, dim=-1).chunk(num_crops)
        # All terms of a student crop in one product: -sum_x P_t(x) log P_s(x').
        for_local = sum(targets) if num_crops > num_global else None
        total = student.new_zeros((), dtype=torch.float32)
        for crop, log_q in enumerate(outputs):
            # A crop is not asked to predict itself.
            target = (
                for_local
                if crop >= num_global
                else sum(p for g, p in enumerate(targets) if g != crop)
            )
            if torch.is_tensor(target):
                total = total - (target * log_q).sum(-1).mean()
        if self.training:
            self.update_center(teacher)
        return total / (num_global * (num_crops - 1))

    @torch.no_grad()
    def update_center(self, teacher: Tensor) -> None:
        """Move the center towards the mean of the rows of all processes, however many each has."""
        total = torch.cat([teacher.sum(0), teacher.new_full((1,), len(teacher))])
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(total)
        self.center.lerp_((total[:-1] / total[-1])[None], 1 - self.center_momentum)

    def _check(self, student: Tensor, teacher: Tensor, num_crops: int, num_global: int) -> None:
        if num_crops < 2 or not 1 <= num_global <= num_crops:
            raise ValueError(
                f'DINO compares each global crop with the other crops: it needs two '
                f'crops and one global crop at least, got {num_crops} crops, '
                f'{num_global} of them global'
            )
        if len(student) * num_global != len(teacher) * num_crops or len(student) % num_crops:
            raise ValueError(
                f'{len(student)} student rows of {num_crops} crops do not fit '
                f'{len(teacher)} teacher rows of {num_global} crops'
            )
        if student.shape[-1] != self.center.shape[-1] or teacher.shape[-1] != student.shape[-1]:
            raise ValueError(
                f'out_channels of the loss is {self.center.shape[-1]}, the head gives '
                f'{student.shape[-1]} (student) and {teacher.shape[-1]} (teacher): '
                'set them to the same number'
            )
