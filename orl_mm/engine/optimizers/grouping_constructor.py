"""From a model's parameter groups to its optimiser."""

from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn


class GroupingConstructor:
    """Base of the constructors that sort parameters into a few groups of one learning rate.

    Args:
        optim_wrapper_cfg (dict): Optimiser and wrapper.
        paramwise_cfg (dict, optional): For the subclass.

    Raises:
        ValueError: No ``optimizer`` in the config.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        if 'optimizer' not in optim_wrapper_cfg:
            raise ValueError(
                f'optim_wrapper needs optimizer=dict(type=...), got {dict(optim_wrapper_cfg)}'
            )
        self.wrapper_cfg = dict(optim_wrapper_cfg)
        self.optimizer_cfg = dict(self.wrapper_cfg.pop('optimizer'))

    def param_groups(self, model: nn.Module) -> list[dict]:
        """All trainable parameters, in one group; subclasses sort them."""
        return [dict(params=[p for p in model.parameters() if p.requires_grad])]

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimiser of a model, wrapped for distributed training or not."""
        groups = self.param_groups(model.module if hasattr(model, 'module') else model)
        optimizer = OPTIMIZERS.build(dict(self.optimizer_cfg, params=groups))
        wrapper = OPTIM_WRAPPERS.build(
            dict(dict(type='OptimWrapper'), **self.wrapper_cfg, optimizer=optimizer)
        )
        # mmengine's stand-in group reports the rate without multipliers, which
        # `auto_scale_lr` misses; all groups here share one rate, so none is needed.
        wrapper.base_param_settings = None
        return wrapper
