"""Every value that changes during training: one function of progress, one hook, one scheduler.

- :class:`Schedule` is the function. To add a curve, add it to ``CURVES``.
- :class:`ScheduleHook` sets attributes of the model, such as the temperature of DINO's teacher.
  ``KMeansRefineHook``, ``MomentumUpdateHook`` and ``AttentionRegHook`` use the same function.
- :class:`ParamSchedule` drives learning rate, weight decay or momentum of the optimizer.

All are closed forms of the position in training, so a resumed run continues exactly.
"""

import logging
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Union

from mmengine.hooks import Hook
from mmengine.logging import MessageHub, print_log
from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import Runner

from orl_mm.progress import epoch_at, epoch_length, iteration, total_epochs, unwrapped_model
from orl_mm.registry import HOOKS, PARAM_SCHEDULERS


def _quarter_cosine(done: float, span: float, a: float, b: float) -> float:
    """cos when falling, sin when rising; ``utils/scheduler.py`` of KKallidromitis/r2o."""
    angle = done / span * (math.pi / 2)
    angle = math.pi / 2 - angle if b > a else angle
    return math.cos(angle) * (max(a, b) - min(a, b)) + min(a, b)


# Name -> value at `done` of `span` between two points with the values a and b.
CURVES: dict[str, Callable[[float, float, Any, Any], Any]] = dict(
    constant=lambda done, span, a, b: a,
    piecewise=lambda done, span, a, b: a,
    step=lambda done, span, a, b: a,
    linear=lambda done, span, a, b: a + (b - a) / span * done,
    cosine=lambda done, span, a, b: b + 0.5 * (a - b) * (1.0 + math.cos(math.pi * (done / span))),
    quarter_cosine=_quarter_cosine,
)


@dataclass(frozen=True)
class Schedule:
    r"""A value as a pure function of the position t in training.

    The curve passes through ``values`` at ``points`` and is constant outside them. With
    :math:`u \in [0, 1]` between two points of values a and b:

    - ``'linear'``: :math:`a + (b - a) u`
    - ``'cosine'``: :math:`b + (a - b) (1 + \cos \pi u) / 2`
    - ``'quarter_cosine'``: :math:`b + (a - b) \cos(\pi u / 2)` when falling,
      :math:`a + (b - a) \sin(\pi u / 2)` when rising
    - ``'piecewise'`` (or ``'step'``): the value of the last point passed

    Before them, the first ``warmup`` units rise linearly from ``warmup_start``.

    Args:
        values (sequence): One value, which is constant, or the values at ``points``. None is
            allowed where values are not interpolated.
        type (str): One of ``CURVES``.
        points (sequence, optional): Position of each value, increasing. Default: equally spaced
            from the end of the warm-up to ``end``.
        end (float, optional): Position of the last value. Default: the end of the run.
        warmup (float): Length W of the warm-up.
        warmup_start (float): Value at position 0 if there is a warm-up.
        inclusive (bool): Whether the last warm-up step has the full value already
            (:math:`t / (W - 1)`, as in DINO), or the step after it (:math:`t / W`).
        extrapolate (bool): Continue the first and last segment instead of staying constant.

    Raises:
        ValueError: An unknown type, or points that do not define a curve.

    Example:
        >>> Schedule([128, 4], 'quarter_cosine')(150, end=300)
        91.68124086713189
        >>> Schedule([0.0, 1e-3], points=[0, 10])(5.0)
        0.0005
    """

    values: Sequence
    type: str = 'linear'
    points: Sequence[float] | None = None
    end: float | None = None
    warmup: float = 0
    warmup_start: float = 0.0
    inclusive: bool = False
    extrapolate: bool = False

    def __post_init__(self) -> None:
        values, points, kind = self.values, self.points, self.type
        if kind not in CURVES:
            raise ValueError(f'type of a schedule must be one of {sorted(CURVES)}, got {kind!r}')
        if not isinstance(values, (list, tuple)) or not values:
            raise ValueError(f'values must be a list of at least one number, got {values!r}')
        if self.warmup < 0:
            raise ValueError(f'warmup must not be negative, got {self.warmup}')
        several, steps = len(values) > 1, kind in ('piecewise', 'step')
        if several and kind == 'constant':
            raise ValueError(f"a constant schedule has one value, got {values}: use 'piecewise'")
        if several and steps and points is None:
            raise ValueError('a piecewise schedule needs points (epochs), one for each value')
        if several and not steps and None in values:
            raise ValueError(f'a {kind} schedule cannot interpolate None, got {values}')
        if points is None or kind == 'constant':
            return
        if len(points) != len(values) or self.end is not None:
            raise ValueError(
                f'a schedule needs one point (epoch) for each value, or end and not both, got '
                f'points={points}, values={values}, end={self.end}'
            )
        if any(b <= a for a, b in zip(points, points[1:], strict=False)):
            raise ValueError(f'points (epochs) of a schedule must increase, got {points}')

    @classmethod
    def build(cls, config: Union[float, dict, 'Schedule'], **defaults) -> 'Schedule':
        """From a number (constant), a schedule, or its arguments, ``epochs`` meaning ``points``."""
        if isinstance(config, cls):
            return config
        arguments = dict(config) if isinstance(config, dict) else dict(values=[config])
        if 'epochs' in arguments:
            arguments['points'] = arguments.pop('epochs')
        return cls(**{**defaults, **arguments})

    def __call__(self, t: float, end: float | None = None, values: Sequence | None = None) -> Any:
        """Value at position t.

        Args:
            t (float): Position, in epochs or iterations from 0.
            end (float, optional): Length of the run in that unit.
            values (sequence, optional): Used in place of the schedule's own.
        """
        values = self.values if values is None else values
        if t < self.warmup:
            share = t / max(self.warmup - self.inclusive, 1)
            return self.warmup_start + (values[0] - self.warmup_start) * share
        if len(values) == 1:
            return values[0]
        points = self.points or self._spread(len(values), end)
        if not self.extrapolate:
            if t <= points[0]:
                return values[0]
            if t >= points[-1]:
                return values[-1]
        right = min(max(bisect_right(points, t), 1), len(points) - 1)
        start, stop = points[right - 1 : right + 1]
        return CURVES[self.type](t - start, stop - start, *values[right - 1 : right + 1])

    def _spread(self, count: int, end: float | None) -> list[float]:
        end = end if self.end is None else self.end
        if end is None:
            raise ValueError(f'{self} needs end, the length of the run')
        step = (end - self.warmup) / (count - 1)
        return [self.warmup + i * step for i in range(count - 1)] + [end]

    def warn_if_unfit(self, name: str, end: float) -> None:
        """Log a warning if an ``end`` or point that was written out does not fit the run."""
        if self.end is not None and self.end != end:
            problem = f'end={self.end} of {name} is not the end of this run'
        elif self.points and len(self.values) > 1 and self.points[-1] > end:
            problem = f'{list(self.points)}, the points of {name}, go beyond the end of this run'
        elif self.warmup > end:
            problem = f'warmup={self.warmup} of {name} is longer than this run'
        else:
            return
        advice = 'leave the end out to have the schedule follow the length of the run'
        _warn(f'{problem}, {end:g}: {advice}.')


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)


def position(
    runner: Runner, step: int, by_epoch: bool = True, smooth: bool = False
) -> tuple[float, float]:
    """Position and end of the run: whole epochs, fractions of epochs (smooth), or iterations."""
    if not by_epoch:
        return step, runner.max_iters
    if smooth:
        length = epoch_length(runner)
        return step / length, runner.max_iters / length
    return epoch_at(runner, step), total_epochs(runner)


@HOOKS.register_module()
class ScheduleHook(Hook):
    """Set attributes of the model by schedules, and log them as ``train/NAME``.

    NAME is the last part of an attribute's path, or the whole path where two end alike.

    Args:
        schedules (dict): Dotted path of an attribute of the model -> a number or the arguments of
            :class:`Schedule`, and optionally ``by_epoch`` (default True: t is the epoch, from 0;
            False: the iteration) and ``convert_to_iter_based`` (t in epochs, with fractions).
        interval (int): Iterations between two values in the log.

    Raises:
        AttributeError: At the start of training, the model has no such attribute.

    Example:
        >>> ScheduleHook({'teacher_temp': dict(
        ...     values=[0.07], warmup=30, warmup_start=0.04, inclusive=True)})
    """

    priority = 'NORMAL'

    def __init__(self, schedules: dict[str, float | dict], interval: int = 10) -> None:
        self.interval = interval
        self.schedules: dict[str, tuple[Schedule, dict]] = {}  # with the unit of t
        for path, config in schedules.items():
            config = dict(config) if isinstance(config, dict) else dict(values=[config])
            by_epoch = config.pop('by_epoch', True)
            unit = dict(by_epoch=by_epoch, smooth=config.pop('convert_to_iter_based', False))
            self.schedules[path] = Schedule.build(config), unit
        names = [path.split('.')[-1] for path in schedules]
        self.log_names = {
            path: name if names.count(name) == 1 else path
            for path, name in zip(schedules, names, strict=True)
        }

    def before_train(self, runner: Runner) -> None:
        """Check that the attributes exist and that the schedules fit the run."""
        for path, (schedule, unit) in self.schedules.items():
            owner, name = self._owner(runner, path)
            if not hasattr(owner, name):
                raise AttributeError(
                    f'{type(owner).__name__} has no attribute {name!r}: correct or remove '
                    f'{path!r} of ScheduleHook in custom_hooks'
                )
            schedule.warn_if_unfit(path, position(runner, 0, **unit)[1])

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        """Set the values of this iteration."""
        step = iteration(runner, batch_idx)
        for path, (schedule, unit) in self.schedules.items():
            value = schedule(*position(runner, step, **unit))
            setattr(*self._owner(runner, path), value)
            if batch_idx == 0 or self.every_n_inner_iters(batch_idx, self.interval):
                runner.message_hub.update_scalar(f'train/{self.log_names[path]}', value)

    @staticmethod
    def _owner(runner: Runner, path: str) -> tuple[Any, str]:
        owner: Any = unwrapped_model(runner)
        *parents, name = path.split('.')
        for parent in parents:
            owner = getattr(owner, parent)
        return owner, name


@PARAM_SCHEDULERS.register_module(name=['ParamSchedule', 'WarmupCosineLR'])
class ParamSchedule(_ParamScheduler):
    r"""Schedule of the optimizer's learning rate, weight decay or momentum, at every iteration.

    By default: linear from exactly 0 to the group's own value over ``warmup``, then cosine to 0
    at ``end`` (projects/r2o/README.md, rows 2 and 3). mmengine's own schedulers cannot do this:
    ``LinearLR(start_factor=0)`` divides by zero, and its cosine is recursive in the current rate,
    so that a factor applied elsewhere compounds.

    The group's own value is its ``initial_{param_name}``, which ``--auto-scale-lr`` has scaled.
    Groups whose own value is 0 (parameters without decay) stay at 0, groups marked ``fix_lr``
    keep their learning rate (SimSiam's predictor).

    Args:
        optimizer (OptimWrapper or Optimizer): Its groups' ``param_name`` is set.
        warmup (int): In epochs (``by_epoch=True, convert_to_iter_based=True``) or iterations
            (``by_epoch=False``). One that is longer than the run is cut to a tenth of it.
        end (int): In the same unit; by default the runner fills in the length of the run.
        param_name (str): Key of the parameter groups.
        factors (sequence): Values of the curve, as multiples of the group's own value.
        final (float, optional): Absolute last value, used in place of the last factor.
        curve, points, inclusive: ``type``, points (one for each factor, in the unit of ``end``)
            and ``inclusive`` of :class:`Schedule`.
        by_epoch (bool): Unit of ``warmup``, ``end`` and ``points``.
        epoch_length (int, optional): Iterations of an epoch; from the runner.
        verbose (bool): Print every value.

    Raises:
        ValueError: No end, epochs that are not converted to iterations, an epoch without
            iterations, or arguments that :class:`Schedule` does not accept.
    """

    end: int

    def __init__(
        self,
        optimizer,
        warmup: int = 0,
        end: int = INF,
        param_name: str = 'lr',
        factors: Sequence[float] = (1.0, 0.0),
        final: float | None = None,
        curve: str = 'cosine',
        points: Sequence[int] | None = None,
        inclusive: bool = False,
        by_epoch: bool = True,
        last_step: int = -1,
        epoch_length: int | None = None,
        verbose: bool = False,
    ) -> None:
        if by_epoch or end == INF:
            raise ValueError(
                f'{type(self).__name__} changes its value at every iteration: it needs '
                'convert_to_iter_based=True, or warmup and end in iterations with by_epoch=False, '
                f'got by_epoch={by_epoch} and end={end} (which the runner fills in by default)'
            )
        self.factors, self.final, self.epoch_length = list(factors), final, epoch_length
        self.schedule = Schedule(self.factors, curve, points, None, warmup, inclusive=inclusive)
        self.factor: Callable[[int], float] = lambda step: 1.0
        self._planned, self._checked = (warmup, max(end, 1)), False
        super().__init__(optimizer, param_name, 0, max(end, 1), last_step, False, verbose)

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args,
        warmup: float = 0,
        end: float = INF,
        points: Sequence[float] | None = None,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs,
    ) -> 'ParamSchedule':
        """Convert epochs to iterations; called by the registry."""
        if not by_epoch or not epoch_length or epoch_length < 0:
            raise ValueError(
                'convert_to_iter_based=True needs by_epoch=True and at least one iteration in an '
                f'epoch, got by_epoch={by_epoch} and epoch_length={epoch_length}: lower '
                'train_dataloader.batch_size if the images are too few for one batch'
            )
        kwargs.update(
            warmup=int(warmup * epoch_length),
            end=end if end == INF else int(end * epoch_length),
            points=points and [int(point * epoch_length) for point in points],
            by_epoch=False,
            epoch_length=epoch_length,
        )
        return cls(*args, **kwargs)

    def value_at(self, step: int, base: float) -> float:
        """Value of a step for a group whose own value is ``base``, without :meth:`set_factor`."""
        if base == 0:
            return 0.0
        values = [base * factor for factor in self.factors]
        if self.final is not None:
            values[-1] = self.final
        return self.schedule(step, self.end, values)

    def set_factor(self, factor: Callable[[int], float]) -> None:
        """Multiply the value of step t by ``factor(t)``, from the current step on."""
        self.factor = factor
        self._refresh()

    def step(self) -> None:
        """Advance by one iteration."""
        self._global_step += 1
        self.last_step += 1
        if self._global_step > 0 and not self._checked:
            self._fit_run()
        self._refresh()

    def state_dict(self) -> dict:
        """Position in training and, for comparison, the plan; plain numbers only."""
        return dict(
            last_step=self.last_step,
            global_step=self._global_step,
            warmup=self.schedule.warmup,
            end=self.end,
            epoch_length=self.epoch_length,
            base_values=[float(base) for base in self.base_values],
        )

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over the position; the plan is that of this run's config.

        Where an epoch now has another number of iterations (another number of processes), the
        position keeps its epoch.
        """
        before, now = state_dict.get('epoch_length'), self.epoch_length
        ratio = now / before if before and now else 1.0
        self.last_step = round(state_dict['last_step'] * ratio)
        self._global_step = round(state_dict.get('global_step', state_dict['last_step']) * ratio)
        self._fit_run(warn=False)
        state = self.state_dict()
        mine = {key: state[key] for key in ('warmup', 'end', 'base_values') if key in state_dict}
        plan = {key: state_dict[key] for key in mine}
        if plan != mine:
            _warn(
                f'{self.param_name} was planned as {plan} by the checkpoint and is planned as '
                f"{mine} by this run; continuing at step {self.last_step} of this run's plan."
            )
        self._refresh()

    def _get_value(self) -> list[float]:
        return [
            base
            if group.get('fix_lr') and self.param_name == 'lr'
            else self.factor(self.last_step) * self.value_at(self.last_step, base)
            for group, base in zip(self.optimizer.param_groups, self.base_values, strict=True)
        ]

    def _refresh(self) -> None:
        self._last_value = self._get_value()
        groups = self.optimizer.param_groups
        for i, (group, value) in enumerate(zip(groups, self._last_value, strict=True)):
            group[self.param_name] = value
            self.print_value(self.verbose, i, value)

    def _fit_run(self, warn: bool = True) -> None:
        """Take over the run's length, which is known once training has begun.

        mmengine counts one epoch in a loop by iterations, so that an ``end`` in epochs which it
        has filled in is wrong there.
        """
        info = MessageHub.get_current_instance().runtime_info
        iters, epochs = info.get('max_iters'), info.get('max_epochs')
        if iters is None or epochs is None:
            return
        warmup, end = self._planned
        self.end = iters if self.epoch_length and end == epochs * self.epoch_length else end
        points, problems = self.schedule.points, []
        last = points[-1] if points else self.end
        if last > iters or (last < iters and not points):
            problems.append(
                f'The schedule of {self.param_name} ends at iteration {last}, but the run has '
                f'{iters}: leave `end` out to have it follow the length of the run.'
            )
        if warmup >= self.end:
            problems.append(
                f'The warm-up of {self.param_name} ({warmup} iterations) does not fit into the run '
                f'({self.end}): shortened to {self.end // 10}.'
            )
            self.schedule = replace(self.schedule, warmup=self.end // 10)
        if warn:
            self._checked = True
            for problem in problems:
                _warn(problem)


@PARAM_SCHEDULERS.register_module()
class WarmupCosineParam(ParamSchedule):
    """DINO's schedule: the warm-up's last step has the full value, then cosine to ``final``.

    ``final`` is absolute; the other arguments are those of :class:`ParamSchedule`. Source:
    ``utils.py``, ``cosine_scheduler``, of github.com/facebookresearch/dino.
    """

    def __init__(self, optimizer, final: float, **kwargs) -> None:
        super().__init__(optimizer, final=final, inclusive=True, **kwargs)
