"""Which parameters LARS adapts and decays."""

import torch
from mmengine.logging import print_log
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from orl_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .grouping_constructor import GroupingConstructor

# _NormBase: batch, synchronised batch and instance norms.
NORMS: tuple[type, ...] = (_NormBase, nn.GroupNorm, nn.LayerNorm) + (
    (nn.RMSNorm,) if hasattr(nn, 'RMSNorm') else ()
)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LARSConstructor(GroupingConstructor):
    """Exclude every norm parameter and every bias from decay and adaptation.

    A norm is known by its module's type, not by its name (projects/r2o/README.md,
    row 4). The optimiser gets two parameter groups, whatever the number of tensors; frozen
    parameters, such as those of a target network, are left out.

    Args:
        optim_wrapper_cfg (dict): Optimiser and wrapper. The optimiser is
            ``orl_mm.LARS`` or another one that knows ``lars_exclude``.
        paramwise_cfg (dict, optional): ``include``: names of norm or bias
            parameters that keep decay and adaptation all the same; the public
            code does so with the weight of the stem's norm, since it looks for
            ``bn`` in names of a Sequential.

    Raises:
        ValueError: An unknown key, an ``include`` that names no excluded
            parameter, or a model without trainable parameters.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg)
        paramwise_cfg = dict(paramwise_cfg or {})
        include = paramwise_cfg.pop('include', ())
        if paramwise_cfg:
            raise ValueError(
                f'paramwise_cfg of LARSConstructor knows `include` alone, got '
                f'{sorted(paramwise_cfg)}; for other rules use '
                'DefaultOptimWrapperConstructor'
            )
        self.include = (include,) if isinstance(include, str) else tuple(include)

    def param_groups(self, model: nn.Module) -> list[dict]:
        """Groups for the optimiser: adapted ones, then excluded ones."""
        adapted: list[torch.Tensor] = []
        excluded: list[torch.Tensor] = []
        seen, frozen, kept = set(), 0, set()
        for prefix, module in model.named_modules():
            for name, param in module.named_parameters(recurse=False):
                if id(param) in seen:
                    continue
                seen.add(id(param))
                full = f'{prefix}.{name}' if prefix else name
                exempt = isinstance(module, NORMS) or name.endswith('bias')
                if exempt and full in self.include:
                    kept.add(full)
                    exempt = False
                if not param.requires_grad:
                    frozen += 1
                else:
                    (excluded if exempt else adapted).append(param)
        unknown = sorted(set(self.include) - kept)
        if unknown:
            raise ValueError(
                f'include names {unknown}, which are no norm or bias parameters '
                f'of {type(model).__name__}; see model.named_parameters()'
            )
        if not adapted and not excluded:
            raise ValueError(f'{type(model).__name__} has no parameter that requires a gradient')
        print_log(
            f'Optimiser: {len(adapted)} tensors with decay and adaptation, '
            f'{len(excluded)} norm and bias tensors without, {frozen} frozen ones left '
            'out',
            logger='current',
        )
        groups = [
            dict(params=adapted, lars_exclude=False),
            dict(params=excluded, weight_decay=0.0, lars_exclude=True),
        ]
        return [group for group in groups if group['params']]
