"""Learning rates by part of the model."""

from mmengine.logging import print_log
from torch import nn

from orl_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .grouping_constructor import GroupingConstructor


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PartRateConstructor(GroupingConstructor):
    """Multiply the learning rate of some parts, such as an encoder that is trained already.

    The optimiser gets one group for each part and one, the first, for all else: its rate is
    the one in the log. mmengine's default constructor does so by ``custom_keys``, with a
    group for each tensor and a warning for each frozen one, of which a momentum copy has
    hundreds. Frozen parameters are left out.

    Args:
        optim_wrapper_cfg (dict): Optimiser, with its ``lr``, and wrapper.
        paramwise_cfg (dict): ``lr_mult``: what multiplies the rate, by the name of a part:
            ``dict(lr_mult=dict(backbone=1e-4))``. A parameter belongs to the longest name
            that its own begins with.

    Raises:
        ValueError: No ``lr`` or ``lr_mult``, an unknown key, a negative factor, or a part
            without parameters to train.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg)
        paramwise_cfg = dict(paramwise_cfg or {})
        self.factors: dict[str, float] = dict(paramwise_cfg.pop('lr_mult', {}))
        if paramwise_cfg or not self.factors:
            raise ValueError(
                'paramwise_cfg of PartRateConstructor is dict(lr_mult=dict(PART='
                f'FACTOR)), got {sorted(paramwise_cfg)} besides {self.factors}; for '
                'other rules use DefaultOptimWrapperConstructor'
            )
        if min(self.factors.values()) < 0:
            raise ValueError(f'factors of lr_mult must not be negative, got {self.factors}')
        if 'lr' not in self.optimizer_cfg:
            raise ValueError(f'optimizer needs lr=..., got {sorted(self.optimizer_cfg)}')

    def param_groups(self, model: nn.Module) -> list[dict]:
        """All else, then a group for each part."""
        rate = self.optimizer_cfg['lr']
        groups = {
            part: dict(params=[], lr=rate * factor)
            for part, factor in {'': 1.0, **self.factors}.items()
        }
        for name, param in model.named_parameters():
            if param.requires_grad:
                part = max(
                    (p for p in self.factors if f'{name}.'.startswith(f'{p}.')), key=len, default=''
                )
                groups[part]['params'].append(param)
        empty = [part for part in self.factors if not groups[part]['params']]
        if empty:
            raise ValueError(
                f'lr_mult names {empty}, of which {type(model).__name__} has no '
                'parameter that requires a gradient; see model.named_parameters()'
            )
        print_log(
            'Optimiser: '
            + ', '.join(
                f'{len(group["params"])} tensors of {part or "all else"} at {group["lr"]:g}'
                for part, group in groups.items()
            ),
            logger='current',
        )
        return [group for group in groups.values() if group['params']]
