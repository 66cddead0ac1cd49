"""DINO: a student learns, from any crop, what its teacher says of the whole.

Section 3.2 of the thesis; Caron et al. 2021 (arXiv 2104.14294).
"""

from copy import deepcopy

import torch
from mmcv.cnn.bricks import DropPath
from mmpretrain.models import BaseSelfSupervisor
from torch import Tensor, nn

from orl_mm.registry import MODELS


@MODELS.register_module()
class DINO(BaseSelfSupervisor):
    """Self-distillation without labels.

    Student: ``backbone``, ``neck``, ``head``. Teacher: the same under ``teacher``, a
    moving average that ``MomentumUpdateHook`` updates after the optimiser step, without
    stochastic depth, and in training mode, so batch norms use and track its own statistics.
    ``ScheduleHook`` schedules ``teacher_temp``, ``FreezeLastLayerHook`` holds
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
        teacher_temp (float): Temperature of the teacher, where no hook sets it.
        pretrained, data_preprocessor, init_cfg: See ``BaseSelfSupervisor``.

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
        pretrained: str | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: list[dict] | dict | None = None,
    ) -> None:
        if num_global_crops < 1 or teacher_temp <= 0:
            raise ValueError(
                'num_global_crops must be at least 1 and teacher_temp positive, got '
                f'{num_global_crops} and {teacher_temp}'
            )
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            pretrained=pretrained,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.criterion = MODELS.build(loss)
        self.num_global_crops, self.teacher_temp = num_global_crops, teacher_temp
        self.teacher = nn.ModuleDict(deepcopy(self._student())).requires_grad_(False)
        for module in self.teacher.modules():
            if isinstance(module, DropPath):
                module.drop_prob = 0.0
        self.register_load_state_dict_post_hook(_copy_when_teacher_is_missing)

    def loss(
        self, inputs: list[Tensor], data_samples: list | None = None, **kwargs
    ) -> dict[str, Tensor]:
        """One training step on V crops, the global ones first; no local crop is needed.

        Args:
            inputs (list): V tensors (B, 3, H, W), normalised; sizes may differ.
            data_samples (list, optional): Not used.

        Returns:
            dict: ``loss``.
        """
        crops = self._crops(inputs)
        global_crops = crops[: self.num_global_crops]
        with torch.no_grad():
            teacher = self._outputs(self.teacher, global_crops)
        student = self._outputs(self._student(), crops)
        # P_t of each global crop supervises P_s of every other crop (X, X').
        loss = self.criterion(student, teacher, len(crops), len(global_crops), self.teacher_temp)
        return dict(loss=loss)

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """theta_t <- m theta_t + (1 - m) theta_s, parameters only."""
        student = [p for part in self._student().values() for p in part.parameters()]
        torch._foreach_lerp_(list(self.teacher.parameters()), student, 1.0 - momentum)

    def init_weights(self) -> None:
        """Initialise the student; the teacher starts as its copy."""
        super().init_weights()
        self.copy_student_to_teacher()

    def copy_student_to_teacher(self) -> None:
        """Parameters and buffers of the student into the teacher."""
        for name, part in self._student().items():
            self.teacher[name].load_state_dict(part.state_dict())

    def _student(self) -> dict[str, nn.Module]:
        parts = dict(backbone=self.backbone, neck=self.neck, head=self.head)
        return {name: part for name, part in parts.items() if part is not None}

    @staticmethod
    def _outputs(network: dict[str, nn.Module], crops: list[Tensor]) -> Tensor:
        """(V B, K): one pass of the backbone for each run of crops of one size."""
        features = []
        for group in _runs_of_one_size(crops):
            x = network['backbone'](torch.cat(group))
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
        if any(x.shape != inputs[0].shape for x in inputs[: self.num_global_crops]):
            raise ValueError(
                'global crops must have one size, got '
                f'{[tuple(x.shape) for x in inputs[: self.num_global_crops]]}'
            )
        return list(inputs)


def _runs_of_one_size(crops: list[Tensor]) -> list[list[Tensor]]:
    runs: list[list[Tensor]] = []
    for crop in crops:
        if runs and runs[-1][0].shape == crop.shape:
            runs[-1].append(crop)
        else:
            runs.append([crop])
    return runs


def _copy_when_teacher_is_missing(model: DINO, incompatible) -> None:
    """A checkpoint of a student alone starts the teacher as its copy."""
    # Old batch norms lack num_batches_tracked, which loading fills in silently.
    teacher = {f'teacher.{key}' for key in model.teacher.state_dict() if 'tracked' not in key}
    if teacher <= set(incompatible.missing_keys):
        model.copy_student_to_teacher()
