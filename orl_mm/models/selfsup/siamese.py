"""What R2O, DetCon, PixPro and VADeR share: two views, and a target network as in BYOL."""

from collections.abc import Callable

import torch
from mmpretrain.models import BaseSelfSupervisor
from torch import Tensor, nn

from orl_mm.models.utils.channels import fit_parts
from orl_mm.models.utils.ema import MomentumNetwork
from orl_mm.structures import RegionBatch


class SiameseModel(BaseSelfSupervisor):
    """An algorithm that compares views of an image, with a moving average of its network.

    A subclass calls :meth:`make_target` at the end of its ``__init__``.
    ``MomentumUpdateHook`` calls :meth:`update_target` after the optimizer step. With
    ``target_update='before_target_forward'`` it sets ``pending_momentum`` before the step
    instead, and :meth:`loss` calls :meth:`update_target_if_pending`.

    Args:
        backbone, neck, head (dict): Channels that they leave out follow from the part before,
            see :func:`~orl_mm.models.utils.channels.fit_parts`.
        data_preprocessor (dict or nn.Module, optional): Its default type is
            ``RegionDataPreprocessor``.
        **kwargs: See mmpretrain's ``BaseSelfSupervisor``.

    Attributes:
        target (MomentumNetwork, optional): Averages of ``backbone`` and ``neck``.
        joined (bool): Both views are normalized together, see :meth:`per_view`.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        **kwargs,
    ) -> None:
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = dict(data_preprocessor or {})
            data_preprocessor.setdefault('type', 'orl_mm.RegionDataPreprocessor')
        encoder, neck, head = fit_parts(backbone, neck, head)
        super().__init__(
            backbone=encoder, neck=neck, head=head, data_preprocessor=data_preprocessor, **kwargs
        )
        self.target: MomentumNetwork | None = None
        self.pending_momentum: float | None = None
        self.joined = False

    def make_target(self) -> None:
        """Create the target network, a copy of backbone and neck."""
        self.target = MomentumNetwork(self, ('backbone', 'neck'), name='target')

    def target_part(self, name: str) -> nn.Module:
        """A part of the target, or of the online network if there is no target."""
        return getattr(self, name) if self.target is None else self.target[name]

    def update_target(self, momentum: float) -> None:
        """xi <- m xi + (1 - m) theta."""
        if self.target is not None:
            self.target.follow(self, momentum)

    def update_target_if_pending(self) -> None:
        """The update within the step, once for each ``pending_momentum`` that was set."""
        if self.pending_momentum is not None:
            self.update_target(self.pending_momentum)
            self.pending_momentum = None

    def init_weights(self) -> None:
        """Initialize the online network; the target starts as its copy."""
        super().init_weights()
        if self.target is not None:
            self.target.copy_from(self)

    def per_view(self, function: Callable, *args: list[Tensor]) -> list[Tensor]:
        """Apply a network to each view, or to both at once if they share batch statistics.

        Args:
            function (callable): Of one tensor from each of ``args``.
            *args (list): Two tensors each, of view 1 and view 2.
        """
        if self.joined:
            return list(function(*(torch.cat(pair) for pair in args)).chunk(2))
        return [function(*pair) for pair in zip(*args, strict=True)]

    def take_inputs(
        self, inputs: Tensor | list[Tensor], num: int, what: str, fix: str
    ) -> list[Tensor]:
        """The inputs of a step, checked to be ``num`` tensors.

        Raises:
            ValueError: Another number: the algorithm needs ``what``; ``fix`` says how.
        """
        if not isinstance(inputs, (list, tuple)) or len(inputs) != num:
            found = len(inputs) if isinstance(inputs, (list, tuple)) else 'a single tensor'
            raise ValueError(f'{type(self).__name__} needs {what}, got {found}; {fix}')
        return list(inputs)

    @staticmethod
    def take_batch(data_samples: RegionBatch | list, view: Tensor) -> RegionBatch:
        """The regions and boxes of a step, from our preprocessor or the stock one."""
        if isinstance(data_samples, RegionBatch):
            return data_samples
        return RegionBatch.from_samples(data_samples).to(view.device)

    def take_boxes(self, data_samples: RegionBatch | list, view: Tensor) -> Tensor:
        """The boxes of two views, (B, 2, 5).

        Raises:
            ValueError: Another number of views or of images.
        """
        boxes = self.take_batch(data_samples, view).views
        if boxes.shape != (len(view), 2, 5):
            raise ValueError(
                f'{type(self).__name__} needs the boxes of two views of {len(view)} '
                f'images, ({len(view)}, 2, 5), got {tuple(boxes.shape)}'
            )
        return boxes
