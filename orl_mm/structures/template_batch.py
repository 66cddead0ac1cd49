"""The templates of a mini-batch: where the anatomical parts are in each guided view."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .to_device import to_device


class TemplateBatch:
    """Templates of B data samples and the names of their R parts.

    Each sample carries, through stock ``PackInputs(algorithm_keys=('template', ),
    meta_keys=('parts', ))``:

    - ``template``: tensor (V, R, h, w) in [0, 1], any dtype: where the parts are in each of
      the V guided views, after the view's own geometry; 0 outside of the image and for a
      part that the image lacks.
    - ``parts``: R names, the same in all samples.

    Args:
        samples (sequence): B data samples.
        device (torch.device, optional): Where the templates are needed.

    Attributes:
        templates (Tensor): (B, V, R, h, w).
        parts (tuple): R names.

    Raises:
        ValueError: A sample without ``template`` or ``parts``, or samples that differ.
    """

    def __init__(self, samples: Sequence | None, device: torch.device | None = None) -> None:
        if not isinstance(samples, (list, tuple)) or not samples:
            raise ValueError(
                'templates come in a list of data samples, got '
                f'{type(samples).__name__}: use mmpretrain.PackInputs with '
                "algorithm_keys=('template', ), meta_keys=('parts', )"
            )
        templates: list = [getattr(sample, 'template', None) for sample in samples]
        if not all(isinstance(t, Tensor) and t.dim() == 4 for t in templates):
            raise ValueError(
                'every data sample needs `template`, a tensor (views, parts, h, w): '
                "put orl_mm.RegisteredTemplate into the pipeline and 'template' into "
                'algorithm_keys of PackInputs'
            )
        shapes = {tuple(t.shape) for t in templates}
        if len(shapes) > 1:
            raise ValueError(f'templates of a batch must have one shape, got {sorted(shapes)}')
        parts = {tuple(getattr(sample, 'parts', None) or ()) for sample in samples}
        num_parts = templates[0].shape[1]
        if len(parts) > 1 or len(min(parts)) != num_parts:
            raise ValueError(
                f'`parts` must name the {num_parts} parts of the template, alike in '
                f"every sample, got {sorted(parts)}: add 'parts' to meta_keys of "
                'PackInputs'
            )
        self.templates, self.parts = torch.stack(templates), parts.pop()
        if device is not None:
            self.templates = to_device(self.templates, device)

    @property
    def num_views(self) -> int:
        """V."""
        return self.templates.shape[1]

    def __len__(self) -> int:
        return len(self.templates)

    def check_range(self) -> None:
        """Raise ValueError if a value lies outside [0, 1]; waits for the device."""
        low, high = self.templates.min().item(), self.templates.max().item()
        if not 0.0 <= low <= high <= 1.0:
            raise ValueError(
                f'template must lie in [0, 1], got {low:g} to {high:g}: divide masks '
                'stored as 0 and 255 by 255'
            )

    def on_grid(self, names: list[str], grid: tuple[int, int]) -> Tensor:
        """(V B, R', h, w), view after view: the named parts, averaged over each patch.

        Raises:
            ValueError: A part that the templates lack, or a size that patches do not divide.
        """
        lacking = [name for name in names if name not in self.parts]
        if lacking:
            raise ValueError(
                f'the templates have the parts {list(self.parts)} and lack {lacking}: '
                'correct the head map or the template'
            )
        # Stacked, since a list as an index waits for the device.
        chosen = torch.stack([self.templates[:, :, self.parts.index(name)] for name in names], 2)
        chosen = chosen.transpose(0, 1).flatten(0, 1).float()
        size = tuple(chosen.shape[-2:])
        if size == tuple(grid):
            return chosen
        if size[0] % grid[0] or size[1] % grid[1]:
            raise ValueError(
                f'template of {size[0]} x {size[1]} does not fit the {grid[0]} x '
                f'{grid[1]} patches of a view: give it the size of the patch grid or '
                'of the view'
            )
        return F.avg_pool2d(chosen, (size[0] // grid[0], size[1] // grid[1]))
