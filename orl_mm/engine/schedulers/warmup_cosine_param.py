"""A parameter of the optimiser from its own value to a given one, as a closed form of the step."""

import math

from mmengine.optim import _ParamScheduler

from orl_mm.registry import PARAM_SCHEDULERS

from .warmup_cosine_lr import UNKNOWN_END


@PARAM_SCHEDULERS.register_module()
class WarmupCosineParam(_ParamScheduler):
    r"""DINO's schedule of learning rate and weight decay, at every iteration.

    With step :math:`t` from 0, the group's own value :math:`b`, warm-up :math:`W`, end
    :math:`T` and final value :math:`f`:

    .. math::
        v_t = \begin{cases} b\, t / (W - 1) & t < W \\
        f + \frac{1}{2} (b - f) (1 + \cos(\pi \frac{\min(t, T) - W}{T - W})) & t \ge W
        \end{cases}

    The warm-up reaches b at its last step, which the cosine's first one repeats. Unlike
    ``WarmupCosineLR`` it ends at an absolute value. Groups whose value is 0 (parameters
    without decay) stay at 0.

    Args:
        optimizer (OptimWrapper or Optimizer): Its groups' ``param_name`` is set.
        final (float): f.
        warmup (int): W, in epochs (``by_epoch=True, convert_to_iter_based=True``) or
            iterations (``by_epoch=False``). 0: none.
        end (int): T, in the same unit; the runner fills in the length of training.
        param_name (str): ``'lr'`` or ``'weight_decay'``.
        by_epoch (bool): The unit of ``warmup`` and ``end``.
        epoch_length (int, optional): Iterations of an epoch; from the runner.
        verbose (bool): Print every value.

    Raises:
        ValueError: A warm-up outside [0, end), no end, or epochs that are not
            converted to iterations.

    Source: ``utils.py``, ``cosine_scheduler``, of github.com/facebookresearch/dino.
    """

    def __init__(
        self,
        optimizer,
        final: float,
        warmup: int = 0,
        end: int = UNKNOWN_END,
        param_name: str = 'lr',
        by_epoch: bool = True,
        last_step: int = -1,
        epoch_length: int | None = None,
        verbose: bool = False,
    ) -> None:
        if by_epoch:
            raise ValueError(
                'WarmupCosineParam changes its value at every iteration: add '
                'convert_to_iter_based=True, or give warmup and end in iterations '
                'with by_epoch=False'
            )
        if end == UNKNOWN_END or not 0 <= warmup < end:
            raise ValueError(
                f'WarmupCosineParam needs 0 <= warmup < end in one unit, got '
                f'warmup={warmup} and end={end}; the runner fills in end when the '
                'scheduler is built from a config'
            )
        self.final, self.warmup, self.epoch_length = final, warmup, epoch_length
        super().__init__(
            optimizer,
            param_name=param_name,
            begin=0,
            end=end,
            last_step=last_step,
            by_epoch=False,
            verbose=verbose,
        )

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args,
        warmup: float = 0,
        end: float = UNKNOWN_END,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs,
    ) -> 'WarmupCosineParam':
        """Convert a warm-up and an end in epochs to iterations; called by the registry."""
        if not by_epoch or not epoch_length or epoch_length < 0:
            raise ValueError(
                'convert_to_iter_based=True converts epochs: it needs by_epoch=True '
                'and at least one iteration in an epoch (else lower '
                f'train_dataloader.batch_size), got by_epoch={by_epoch} and '
                f'epoch_length={epoch_length}'
            )
        if end != UNKNOWN_END:
            end = int(end * epoch_length)
        return cls(
            *args,
            warmup=int(warmup * epoch_length),
            end=end,
            by_epoch=False,
            epoch_length=epoch_length,
            **kwargs,
        )

    def value_at(self, step: int, base: float) -> float:
        """The value of a step for a group whose own value is ``base``."""
        if base == 0:
            return 0.0
        if step < self.warmup:
            return base * step / max(self.warmup - 1, 1)
        done = (min(step, self.end) - self.warmup) / (self.end - self.warmup)
        return self.final + 0.5 * (base - self.final) * (1.0 + math.cos(math.pi * done))

    def state_dict(self) -> dict:
        """The position; plain numbers only, the plan is the config's."""
        return dict(
            last_step=self.last_step, global_step=self._global_step, epoch_length=self.epoch_length
        )

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over the position, by epochs where their length has changed."""
        before, now = state_dict.get('epoch_length'), self.epoch_length
        ratio = now / before if before and now else 1.0
        self.last_step = round(state_dict['last_step'] * ratio)
        self._global_step = round(state_dict.get('global_step', state_dict['last_step']) * ratio)
        for group, value in zip(self.optimizer.param_groups, self._get_value(), strict=False):
            group[self.param_name] = value
        self._last_value = [group[self.param_name] for group in self.optimizer.param_groups]

    def _get_value(self) -> list[float]:
        return [self.value_at(self.last_step, base) for base in self.base_values]
