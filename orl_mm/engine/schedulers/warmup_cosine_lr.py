"""Learning rate as a closed form of the step."""

import math
from collections.abc import Callable

from mmengine.logging import print_log
from mmengine.optim import _ParamScheduler

from orl_mm.registry import PARAM_SCHEDULERS

# As in mmengine: the value of `end` where neither the config nor the loop gives one.
UNKNOWN_END = int(1e9)


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
    r"""Linear from exactly 0 to the base rate, then cosine to 0, at every iteration.

    With step :math:`t` from 0, base rate :math:`\eta`, warm-up :math:`W`, end
    :math:`T` and an optional factor :math:`f(t)` (projects/r2o/README.md, rows 2 and 3):

    .. math::
        \eta_t = f(t)\,\eta \cdot \begin{cases} t / W & t < W \\
        \frac{1}{2} (1 + \cos(\pi \frac{\min(t, T) - W}{T - W})) & t \ge W
        \end{cases}

    The rate of a step never depends on the rate of the step before, so factors
    do not compound and resuming anywhere continues exactly. mmengine's own
    pieces cannot do this: ``LinearLR(start_factor=0)`` divides by zero, and its
    cosine is recursive in the group's current rate.

    The base rate of each parameter group is its ``initial_lr``, so
    ``auto_scale_lr``, which scales the groups before schedulers are built, holds.

    Args:
        optimizer (OptimWrapper or Optimizer): Its groups' ``lr`` is set.
        warmup (int): W, in epochs (``by_epoch=True, convert_to_iter_based=True``)
            or iterations (``by_epoch=False``). 0: none.
        end (int): T, in the same unit; the runner fills in the length of training.
        by_epoch (bool): The unit of ``warmup`` and ``end``.
        epoch_length (int, optional): Iterations of an epoch; from the runner.
        verbose (bool): Print every value.

    Raises:
        ValueError: A warm-up outside [0, end), no end, or epochs that are not
            converted to iterations.
    """

    def __init__(
        self,
        optimizer,
        warmup: int,
        end: int = UNKNOWN_END,
        by_epoch: bool = True,
        last_step: int = -1,
        epoch_length: int | None = None,
        verbose: bool = False,
    ) -> None:
        if by_epoch:
            raise ValueError(
                'WarmupCosineLR changes the rate at every iteration: add '
                'convert_to_iter_based=True, or give warmup and end in '
                'iterations with by_epoch=False'
            )
        if end == UNKNOWN_END:
            raise ValueError(
                'WarmupCosineLR needs `end`, the length of training in the unit '
                'of `warmup`; the runner fills it in when the scheduler is '
                'built from a config'
            )
        if not 0 <= warmup < end:
            raise ValueError(
                f'warmup must lie in [0, end = {end}), got {warmup}: shorten the '
                'warm-up or train longer'
            )
        self.warmup = warmup
        self.epoch_length = epoch_length
        self.factor: Callable[[int], float] | None = None
        super().__init__(
            optimizer,
            param_name='lr',
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
        warmup: float,
        end: float = UNKNOWN_END,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs,
    ) -> 'WarmupCosineLR':
        """Convert a warm-up and an end in epochs to iterations; called by the registry."""
        if not by_epoch:
            raise ValueError(
                'convert_to_iter_based=True converts epochs: give warmup and end '
                'in epochs with by_epoch=True, or drop it'
            )
        if not epoch_length or epoch_length < 0:
            raise ValueError(
                f'an epoch has {epoch_length} iterations: the images are too few '
                'for one batch (lower train_dataloader.batch_size), or '
                'epoch_length is missing'
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

    def scale_at(self, step: int) -> float:
        """The rate of a step as a share of the base rate, the factor included."""
        if step < self.warmup:
            shape = step / self.warmup
        else:
            done = (min(step, self.end) - self.warmup) / (self.end - self.warmup)
            shape = 0.5 * (1.0 + math.cos(math.pi * done))
        return max(shape, 0.0) * (1.0 if self.factor is None else self.factor(step))

    def step(self) -> None:
        """Advance by one iteration."""
        self._global_step += 1
        self.last_step += 1
        self.refresh()

    def refresh(self) -> None:
        """Set the rates of the current step anew, after a change of the factor or a resume."""
        scale = self.scale_at(self.last_step)
        for i, (group, base) in enumerate(
            zip(self.optimizer.param_groups, self.base_values, strict=False)
        ):
            group[self.param_name] = base * scale
            self.print_value(self.verbose, i, base * scale)
        self._last_value = [group[self.param_name] for group in self.optimizer.param_groups]

    def set_factor(self, factor: Callable[[int], float] | None) -> None:
        """Multiply the rate of step t by ``factor(t)``, from the current step on."""
        self.factor = factor
        self.refresh()

    def _get_value(self) -> list:
        return [base * self.scale_at(self.last_step) for base in self.base_values]

    def state_dict(self) -> dict:
        """The position and, to compare, the plan; plain numbers only."""
        return dict(
            last_step=self.last_step,
            global_step=self._global_step,
            warmup=self.warmup,
            end=self.end,
            epoch_length=self.epoch_length,
            base_values=[float(base) for base in self.base_values],
        )

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over the position; the plan stays that of this run's config.

        Where an epoch now has another number of iterations (another number of
        processes after a restart), the position keeps its epoch.
        """
        before, now = state_dict.get('epoch_length'), self.epoch_length
        ratio = now / before if before and now else 1.0
        self.last_step = round(state_dict['last_step'] * ratio)
        self._global_step = round(state_dict.get('global_step', state_dict['last_step']) * ratio)
        plan = dict(
            warmup=state_dict.get('warmup'),
            end=state_dict.get('end'),
            base_values=state_dict.get('base_values'),
        )
        mine = {key: value for key, value in self.state_dict().items() if key in plan}
        if plan != mine:
            print_log(
                f'The learning rate was planned as {plan} by the checkpoint and is '
                f'planned as {mine} by this run; going on at step {self.last_step} '
                "of this run's plan.",
                logger='current',
                level=30,
            )
        self.refresh()
