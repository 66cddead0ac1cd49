"""DINO: a student network learns to give, for any crop of an image, its teacher's output.

Section 3.2 of the thesis; Caron et al. 2021 (arXiv 2104.14294).
"""

from itertools import groupby

import torch
from mmcv.cnn.bricks import DropPath
from mmpretrain.models import BaseSelfSupervisor
from torch import Tensor, nn

from orl_mm.models.utils.channels import backbone_channels, fit, fit_parts, projection_channels
from orl_mm.models.utils.ema import MomentumNetwork
from orl_mm.registry import MODELS


@MODELS.register_module()
class DINO(BaseSelfSupervisor):
    """Self-distillation without labels.

    Student: ``backbone``, ``neck``, ``head``. Teacher: their moving average, which
    ``MomentumUpdateHook`` updates after the optimizer step; without stochastic depth.
    ``ScheduleHook`` schedules ``teacher_temp``, ``FreezeLastLayerHook`` freezes
    the prototypes at first. MeDINO is this model with ``AttentionRegHook``. The teacher is
    what is evaluated: ``PretrainedBackbone(prefix='teacher.backbone.')``. Position embeddings
    of smaller crops are resized by mmpretrain to the crop's grid exactly; the
    reference's factor is larger by 0.1 of a patch.

    Args:
        backbone (dict): A ViT whose output is the CLS token, or any other backbone with
            a ``neck`` that makes one vector of it.
        head (dict): ``DINOHead``.
        loss (dict): ``DINOLoss``.
        neck (dict, optional): Between the two, such as ``GlobalAveragePooling`` for ResNet.
        num_global_crops (int): How many of the first inputs the teacher sees.
        teacher_temp (float): Temperature of the teacher, unless a hook sets it.
        **kwargs: ``pretrained``, ``data_preprocessor``, ``init_cfg``: see mmpretrain's
            ``BaseSelfSupervisor``.

    Attributes:
        teacher (MomentumNetwork): Its parts are named as the student's.

    Raises:
        ValueError: A number of global crops or a temperature that is not positive.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        loss: dict,
        neck: dict | None = None,
        num_global_crops: int = 2,
        teacher_temp: float = 0.04,
        **kwargs,
    ) -> None:
        if num_global_crops < 1 or teacher_temp <= 0:
            raise ValueError(
                'num_global_crops must be at least 1 and teacher_temp positive, got '
                f'{num_global_crops} and {teacher_temp}'
            )
        encoder, neck, _ = fit_parts(backbone, neck, None)
        width = projection_channels(neck) or (backbone_channels(encoder) or [0])[-1]
        if width:
            head = fit(head, 'in_channels', width, f'the output of {type(encoder).__name__}')
        super().__init__(backbone=encoder, neck=neck, head=head, **kwargs)
        prototypes = getattr(self.head, 'out_channels', None)
        if prototypes:
            loss = fit(loss, 'out_channels', prototypes, 'the head')
        self.criterion = MODELS.build(loss)
        self.num_global_crops, self.teacher_temp = num_global_crops, teacher_temp
        self.parts = ('backbone', 'head') if neck is None else ('backbone', 'neck', 'head')
        self.teacher = MomentumNetwork(self, self.parts, name='teacher')
        for module in self.teacher.modules():
            if isinstance(module, DropPath):
                module.drop_prob = 0.0

    def loss(
        self, inputs: list[Tensor], data_samples: list | None = None, **kwargs
    ) -> dict[str, Tensor]:
        """One training step on V crops, the global ones first; local crops are optional.

        Args:
            inputs (list): V tensors (B, 3, H, W), normalized; sizes may differ.
            data_samples (list, optional): Not used.

        Returns:
            dict: ``loss``.
        """
        crops = self._crops(inputs)
        global_crops = crops[: self.num_global_crops]
        with torch.no_grad():
            teacher = self._outputs(self.teacher, global_crops)
        student = self._outputs({part: getattr(self, part) for part in self.parts}, crops)
        # P_t of each global crop supervises P_s of every other crop (X, X').
        loss = self.criterion(student, teacher, len(crops), len(global_crops), self.teacher_temp)
        return dict(loss=loss)

    def update_target(self, momentum: float) -> None:
        """theta_t <- m theta_t + (1 - m) theta_s."""
        self.teacher.follow(self, momentum)

    def init_weights(self) -> None:
        """Initialize the student; the teacher starts as its copy."""
        super().init_weights()
        self.teacher.copy_from(self)

    @staticmethod
    def _outputs(network: dict[str, nn.Module] | nn.ModuleDict, crops: list[Tensor]) -> Tensor:
        """(V B, K): one pass of the backbone for each run of crops of one size."""
        features = []
        for _, group in groupby(crops, key=lambda crop: crop.shape):
            x = network['backbone'](torch.cat(list(group)))
            if 'neck' in network:
                x = network['neck'](x)
            features.append(x[-1] if isinstance(x, (tuple, list)) else x)
        if features[0].dim() != 2:
            raise ValueError(
                f'DINO needs one vector an image and the backbone gives '
                f'{tuple(features[0].shape)}: add neck=dict(type='
                "'GlobalAveragePooling'), or out_type='cls_token' for a ViT"
            )
        return network['head'](torch.cat(features))

    def _crops(self, inputs: Tensor | list[Tensor]) -> list[Tensor]:
        if not isinstance(inputs, (list, tuple)) or len(inputs) < max(2, self.num_global_crops):
            found = len(inputs) if isinstance(inputs, (list, tuple)) else 'a single tensor'
            raise ValueError(
                'DINO needs a list of crops, at least 2 and the '
                f'{self.num_global_crops} global ones first, got {found}: use a '
                'multi-view transform'
            )
        sizes = [tuple(x.shape) for x in inputs[: self.num_global_crops]]
        if len(set(sizes)) > 1:
            raise ValueError(f'global crops must have one size, got {sizes}')
        return list(inputs)
