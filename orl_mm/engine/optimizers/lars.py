"""LARS: SGD with a learning rate adapted to each tensor, without synchronizing the device."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from orl_mm.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARS(Optimizer):
    r"""SGD whose rate adapts to each tensor (algorithm 1 of You, Gitman and Ginsburg).

    With weight w, gradient g, decay :math:`\beta`, trust :math:`\eta` and rate
    :math:`\gamma`:

    .. math::
        \lambda = \eta \frac{\|w\|}{\|g\| + \beta \|w\| + \epsilon}, \quad
        v \leftarrow m v + \gamma \lambda (g + \beta w), \quad w \leftarrow w - v

    :math:`\lambda` is 1 where the weight or the gradient is zero, and in groups
    with ``lars_exclude=True``. Norms stay on the device, whereas mmpretrain's class
    synchronizes twice per tensor. State and keys are those of mmpretrain's class, so
    its checkpoints can be resumed.

    Args:
        params (iterable): Tensors, or groups; a group may set ``lars_exclude``.
        lr (float): Rate.
        momentum (float): m.
        weight_decay (float): Decay.
        dampening (float): The new term of v is scaled by 1 - dampening.
        eta (float): Trust.
        nesterov (bool): Nesterov's momentum.
        eps (float): Keeps the denominator from zero.

    Raises:
        ValueError: A negative argument, or nesterov without momentum.

    Source: arXiv 1708.03888; ``optimizer/LARSSGD.py`` of
    github.com/KKallidromitis/r2o; ``mmpretrain.engine.optimizers.LARS``.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        eta: float = 0.001,
        nesterov: bool = False,
        eps: float = 1e-8,
    ) -> None:
        defaults = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, eta=eta)
        for name, value in dict(defaults, eps=eps).items():
            if value < 0.0:
                raise ValueError(f'{name} of LARS must not be negative, got {value}')
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                'nesterov=True needs momentum > 0 and dampening = 0, got '
                f'momentum={momentum} and dampening={dampening}'
            )
        self.eps = eps
        super().__init__(params, dict(defaults, dampening=dampening, nesterov=nesterov))

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault('nesterov', False)

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        """One update; returns the closure's loss, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group['params'] if p.grad is not None]
            if params:
                update = self._scaled_gradients(params, group)
                if group['momentum'] != 0:
                    update = self._with_momentum(params, update, group)
                torch._foreach_sub_(params, update)
        return loss

    def _scaled_gradients(self, params: list[Tensor], group: dict) -> list[Tensor]:
        """rate * lambda * (g + decay * w) of each tensor, newly allocated."""
        grads = [p.grad for p in params if p.grad is not None]
        decay = group['weight_decay']
        rates = None if group.get('lars_exclude', False) else self._rates(params, grads, group)
        update = (
            list(torch._foreach_add(grads, params, alpha=decay))
            if decay != 0
            else [g.clone() for g in grads]
        )
        torch._foreach_mul_(update, group['lr'] if rates is None else rates)
        return update

    def _rates(self, params: list[Tensor], grads: list[Tensor], group: dict) -> list[Tensor]:
        """lambda * rate of each tensor, as scalars on the device."""
        weight = torch.stack(torch._foreach_norm(params))
        grad = torch.stack(torch._foreach_norm(grads))
        trust = group['eta'] * weight / (grad + group['weight_decay'] * weight + self.eps)
        both = (weight != 0) & (grad != 0)
        return list(torch.where(both, trust, 1.0).mul_(group['lr']).unbind())

    def _with_momentum(
        self, params: list[Tensor], update: list[Tensor], group: dict
    ) -> list[Tensor]:
        """v of each tensor; the first one is the update itself."""
        old = [i for i, p in enumerate(params) if 'momentum_buffer' in self.state[p]]
        fresh = set(range(len(params))).difference(old)
        for i in fresh:
            self.state[params[i]]['momentum_buffer'] = update[i].clone()
        buffers = [self.state[p]['momentum_buffer'] for p in params]
        if old:
            moving = [buffers[i] for i in old]
            torch._foreach_mul_(moving, group['momentum'])
            torch._foreach_add_(moving, [update[i] for i in old], alpha=1 - group['dampening'])
        if group['nesterov']:
            return list(torch._foreach_add(update, buffers, alpha=group['momentum']))
        return buffers
