"""Which parameters the optimizer decays, adapts, or trains at another rate."""

from collections import Counter
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from orl_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

# _NormBase: batch, synchronized batch and instance norms.
NORMS: tuple[type, ...] = (_NormBase, nn.GroupNorm, nn.LayerNorm) + (
    (nn.RMSNorm,) if hasattr(nn, 'RMSNorm') else ()
)


class GroupingConstructor:
    """Base of constructors that sort trainable parameters into a few named groups.

    mmengine's default constructor makes one group for each tensor. Frozen parameters, such as
    those of a target network, are left out; a parameter that two modules share counts once.

    Args:
        optim_wrapper_cfg (dict): Optimizer and wrapper.
        paramwise_cfg (dict, optional): Options; ``option`` is the only key that is known.

    Raises:
        ValueError: No ``optimizer`` in the config, an unknown option, or a model without
            trainable parameters.
    """

    option = ''

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        self.wrapper_cfg = dict(optim_wrapper_cfg)
        if 'optimizer' not in self.wrapper_cfg:
            raise ValueError(
                f'optim_wrapper needs optimizer=dict(type=...), got {optim_wrapper_cfg}'
            )
        self.optimizer_cfg = dict(self.wrapper_cfg.pop('optimizer'))
        unknown = sorted(set(paramwise_cfg or {}) - {self.option})
        if unknown:
            raise ValueError(
                f'paramwise_cfg of {type(self).__name__} knows '
                f'{self.option or "no key"}, got {unknown}; for other rules use '
                'DefaultOptimWrapperConstructor'
            )

    def groups(self) -> dict[str, dict]:
        """Name of each group -> its options for the optimizer."""
        return {'all': {}}

    def group_of(self, name: str, param: nn.Parameter, module: nn.Module) -> str:
        """Name of the group of a parameter.

        Args:
            name (str): Full name of the parameter.
            param (nn.Parameter): The parameter.
            module (nn.Module): The module it belongs to.
        """
        return 'all'

    def param_groups(self, model: nn.Module) -> list[dict]:
        """Groups for the optimizer, without the empty ones."""
        groups: dict[str, dict[str, Any]] = {
            key: dict(options, params=[]) for key, options in self.groups().items()
        }
        seen = set()
        for prefix, module in model.named_modules():
            for name, param in module.named_parameters(prefix, recurse=False):
                if param.requires_grad and id(param) not in seen:
                    seen.add(id(param))
                    groups[self.group_of(name, param, module)]['params'].append(param)
        if not seen:
            raise ValueError(f'{type(model).__name__} has no parameter that requires a gradient')
        counts = Counter({key: len(group['params']) for key, group in groups.items()})
        self.check(model, counts)
        text = ', '.join(f'{count} tensors {key}' for key, count in counts.items())
        print_log(f'Optimizer: {text}', logger='current')
        return [group for group in groups.values() if group['params']]

    def check(self, model: nn.Module, counts: dict[str, int]) -> None:
        """Raise an error if the sizes of the groups show a mistake in the options."""

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer of a model, wrapped for distributed training or not."""
        inner: Any = getattr(model, 'module', model)
        groups = self.param_groups(inner)
        optimizer = OPTIMIZERS.build(dict(self.optimizer_cfg, params=groups))
        wrapper = OPTIM_WRAPPERS.build(
            dict(dict(type='OptimWrapper'), **self.wrapper_cfg, optimizer=optimizer)
        )
        # mmengine's stand-in group would report the rate without auto_scale_lr's factor.
        wrapper.base_param_settings = None
        return wrapper


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LARSConstructor(GroupingConstructor):
    """Exclude every norm parameter and every bias from LARS's decay and adaptation.

    A norm is recognized by its module's type, not by its name (projects/r2o/README.md, row 4).

    Args:
        optim_wrapper_cfg (dict): Optimizer and wrapper. The optimizer is ``orl_mm.LARS`` or
            another one that knows ``lars_exclude``.
        paramwise_cfg (dict, optional): ``include``: names of norm or bias parameters that are
            decayed and adapted nevertheless. The public code does so with the weight of the
            stem's norm, since it looks for ``bn`` in the names of a Sequential.

    Raises:
        ValueError: As the base class; or ``include`` names no norm or bias parameter.
    """

    option = 'include'

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        include = (paramwise_cfg or {}).get('include', ())
        self.include = {include} if isinstance(include, str) else set(include)
        self._unused = set(self.include)

    def groups(self) -> dict[str, dict]:
        """Adapted ones, then excluded ones."""
        return {
            'with decay and adaptation': dict(lars_exclude=False),
            'without (norms and biases)': dict(weight_decay=0.0, lars_exclude=True),
        }

    def group_of(self, name: str, param: nn.Parameter, module: nn.Module) -> str:
        """By the type of the module."""
        adapted, excluded = self.groups()
        exempt = isinstance(module, NORMS) or name.endswith('bias')
        if exempt and name in self.include:
            self._unused.discard(name)
            exempt = False
        return excluded if exempt else adapted

    def check(self, model: nn.Module, counts: dict[str, int]) -> None:
        """Every name of ``include`` must be that of an excluded parameter."""
        if self._unused:
            raise ValueError(
                f'include names {sorted(self._unused)}, which are no trainable norm or bias '
                f'parameters of {type(model).__name__}; see model.named_parameters()'
            )


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MatrixDecayConstructor(GroupingConstructor):
    """Decay only parameters of two or more dimensions that are not biases, as DINO does.

    CLS token and position embedding are decayed. A scheduler of ``weight_decay`` leaves the
    second group at 0.

    Args:
        optim_wrapper_cfg (dict): Optimizer and wrapper.
        paramwise_cfg (dict, optional): Must be empty.

    Source: ``utils.py``, ``get_params_groups``, of github.com/facebookresearch/dino.
    """

    def groups(self) -> dict[str, dict]:
        """Decayed ones, then the others."""
        return {'with weight decay': {}, 'without': dict(weight_decay=0.0)}

    def group_of(self, name: str, param: nn.Parameter, module: nn.Module) -> str:
        """By name and number of dimensions."""
        return 'without' if name.endswith('.bias') or param.dim() <= 1 else 'with weight decay'


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PartRateConstructor(GroupingConstructor):
    """Multiply the learning rate of some parts, such as an encoder that is trained already.

    The first group has all other parameters; its rate is the one in the log.

    Args:
        optim_wrapper_cfg (dict): Optimizer, with its ``lr``, and wrapper.
        paramwise_cfg (dict): ``lr_mult``: factor of the rate by the name of a part, such as
            ``dict(lr_mult=dict(backbone=1e-4))``. A parameter belongs to the longest name that
            its own begins with.

    Raises:
        ValueError: As the base class; or no ``lr`` or ``lr_mult``, a negative factor, a part
            without trainable parameters.
    """

    option = 'lr_mult'

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        self.factors: dict[str, float] = dict((paramwise_cfg or {}).get('lr_mult', {}))
        if not self.factors or min(self.factors.values()) < 0:
            raise ValueError(
                'PartRateConstructor needs paramwise_cfg=dict(lr_mult=dict(PART=FACTOR)) with '
                f'factors of at least 0, got {self.factors}'
            )
        if 'lr' not in self.optimizer_cfg:
            raise ValueError(f'optimizer needs lr=..., got {sorted(self.optimizer_cfg)}')

    def groups(self) -> dict[str, dict]:
        """All others, then each part."""
        rate = self.optimizer_cfg['lr']
        return {part: dict(lr=rate * factor) for part, factor in {'': 1.0, **self.factors}.items()}

    def group_of(self, name: str, param: nn.Parameter, module: nn.Module) -> str:
        """By the longest prefix."""
        parts = [part for part in self.factors if f'{name}.'.startswith(f'{part}.')]
        return max(parts, key=len, default='')

    def check(self, model: nn.Module, counts: dict[str, int]) -> None:
        """Every part must have parameters."""
        empty = [part for part in self.factors if not counts[part]]
        if empty:
            raise ValueError(
                f'lr_mult names {empty}, of which {type(model).__name__} has no '
                'parameter that requires a gradient; see model.named_parameters()'
            )
