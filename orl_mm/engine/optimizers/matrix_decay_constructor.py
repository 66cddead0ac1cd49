"""Weight decay on matrices alone."""

import torch
from mmengine.logging import print_log
from torch import nn

from orl_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .grouping_constructor import GroupingConstructor


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MatrixDecayConstructor(GroupingConstructor):
    """Exclude biases and every parameter of one dimension from weight decay, as DINO.

    The optimiser gets two groups, decayed and not, whatever the number of tensors; a
    schedule such as ``WarmupCosineParam(param_name='weight_decay')`` leaves the second
    at 0. CLS token and position embedding have more dimensions and are decayed. Frozen
    parameters, such as a teacher's, are left out.

    Args:
        optim_wrapper_cfg (dict): Optimiser and wrapper.
        paramwise_cfg (dict, optional): Must be empty.

    Raises:
        ValueError: No optimiser, a ``paramwise_cfg``, or nothing to train.

    Source: ``utils.py``, ``get_params_groups``, of github.com/facebookresearch/dino.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg)
        if paramwise_cfg:
            raise ValueError(
                'MatrixDecayConstructor takes no paramwise_cfg, got '
                f'{dict(paramwise_cfg)}; for other rules use '
                'DefaultOptimWrapperConstructor'
            )

    def param_groups(self, model: nn.Module) -> list[dict]:
        """Groups for the optimiser: decayed ones, then the others."""
        decayed: list[torch.Tensor] = []
        others: list[torch.Tensor] = []
        for name, param in model.named_parameters():
            if param.requires_grad:
                (others if name.endswith('.bias') or param.dim() <= 1 else decayed).append(param)
        if not decayed and not others:
            raise ValueError(f'{type(model).__name__} has no parameter that requires a gradient')
        print_log(
            f'Optimiser: {len(decayed)} tensors with weight decay, {len(others)} without',
            logger='current',
        )
        groups = [dict(params=decayed), dict(params=others, weight_decay=0.0)]
        return [group for group in groups if group['params']]
