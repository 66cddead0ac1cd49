"""A target network that follows the online one: what R2O and its rivals take from BYOL."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from mmpretrain.models import BaseSelfSupervisor
from torch import Tensor, nn

from orl_mm.structures import RegionBatch


class MomentumTarget(BaseSelfSupervisor):
    """An algorithm on the views of a mini-batch, with a moving average of its online network.

    A subclass calls :meth:`make_target` at the end of its ``__init__``;
    ``MomentumUpdateHook`` calls :meth:`update_target` after the optimiser step, or, with
    ``target_update='before_target_forward'``, sets ``pending_momentum`` before it. The
    target stays in training mode: its batch norms use and track its own statistics.

    Args:
        data_preprocessor (dict or nn.Module, optional): Its default type is
            ``RegionDataPreprocessor``.
        **kwargs: See ``BaseSelfSupervisor``.

    Attributes:
        target (nn.ModuleDict, optional): Copies of parts, by their names; None without target.
        joined (bool): Views are normalised together, see :meth:`per_view`.
    """

    def __init__(self, *args, data_preprocessor: dict | nn.Module | None = None, **kwargs) -> None:
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = dict(data_preprocessor or {})
            data_preprocessor.setdefault('type', 'orl_mm.RegionDataPreprocessor')
        super().__init__(*args, data_preprocessor=data_preprocessor, **kwargs)
        self.target: nn.ModuleDict | None = None
        self.pending_momentum: float | None = None
        self.joined = False

    def make_target(self, parts: Sequence[str] = ('backbone', 'neck')) -> None:
        """Copy parts of the online network; the copies are never trained.

        A checkpoint of an online network alone starts the target as its copy.
        """
        self.target = nn.ModuleDict({name: deepcopy(getattr(self, name)) for name in parts})
        self.target.requires_grad_(False)
        self.register_load_state_dict_post_hook(_copy_when_target_is_missing)

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """xi <- m xi + (1 - m) theta, parameters only: buffers are the target's own."""
        online = [p for name in self.target for p in getattr(self, name).parameters()]
        torch._foreach_lerp_(list(self.target.parameters()), online, 1.0 - momentum)

    def update_target_if_pending(self) -> None:
        """The update that was left to the step itself, once."""
        if self.pending_momentum is not None:
            self.update_target(self.pending_momentum)
            self.pending_momentum = None

    def init_weights(self) -> None:
        """Initialise the online network; the target starts as its copy."""
        super().init_weights()
        self.copy_online_to_target()

    def copy_online_to_target(self) -> None:
        """Parameters and buffers of the online network into the target."""
        for name in self.target or ():
            self.target[name].load_state_dict(getattr(self, name).state_dict())

    def per_view(self, function: Callable, *args: list[Tensor]) -> list[Tensor]:
        """Apply to each view, or to both at once where they share batch statistics."""
        if self.joined:
            return list(function(*(torch.cat(pair) for pair in args)).chunk(2))
        return [function(*pair) for pair in zip(*args, strict=False)]

    def take_inputs(
        self, inputs: Tensor | list[Tensor], num: int, what: str, fix: str
    ) -> list[Tensor]:
        """The inputs of a step, if there are ``num`` of them.

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


def _copy_when_target_is_missing(model: MomentumTarget, incompatible) -> None:
    # Old batch norms lack num_batches_tracked, which loading fills in silently.
    target = {f'target.{key}' for key in model.target.state_dict() if 'tracked' not in key}
    if target <= set(incompatible.missing_keys):
        model.copy_online_to_target()
