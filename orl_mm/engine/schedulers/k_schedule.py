"""The number of objects K as a pure function of the epoch."""

import math
from collections.abc import Callable, Sequence
from typing import Optional

Number = Optional[float]


class KSchedule:
    r"""K of the mask refinement, by epoch (thesis, section 2.3; projects/r2o/README.md, row 1).

    - ``constant``: ``values[0]`` throughout.
    - ``piecewise``: ``values[i]`` from ``epochs[i]`` on; ``values[0]`` before it.
    - ``linear``: through the points ``(epochs[i], values[i])``; outside of them
      the first and the last segment go on.
    - ``cosine``: two points. With :math:`u = (e - e_0) / (e_1 - e_0)`, falling
      :math:`K = (K_0 - K_1) \cos(u \pi/2) + K_1`, rising
      :math:`K = (K_1 - K_0) \sin(u \pi/2) + K_0`; the end values outside.

    The value is truncated to an integer. Below 1 it is 1. Above ``off_above`` it
    is None: clustering is off and the superpixels themselves are the masks.

    The authors count epochs 1..E and so do ``epochs`` and :meth:`__call__`;
    mmengine's ``runner.epoch`` counts from 0. :meth:`at_runner_epoch` is the one
    place where the two meet.

    Args:
        type (str): ``'constant'``, ``'piecewise'``, ``'linear'`` or ``'cosine'``.
        values (sequence): K at each point. None (constant and piecewise only)
            turns clustering off there.
        epochs (sequence, optional): The epoch of each point, increasing;
            not needed by ``constant``.
        off_above (int, optional): Largest K that is still clustered, 128 in the
            public code. None: no limit.

    Raises:
        ValueError: An unknown type, or points that do not define such a curve.

    Source: ``utils/scheduler.py`` of github.com/KKallidromitis/r2o.

    Example:
        >>> k = KSchedule('cosine', epochs=[0, 300], values=[128, 4])
        >>> [k(e) for e in (1, 100, 150, 200, 299)]
        [127, 111, 91, 66, 4]
    """

    def __init__(
        self,
        type: str,
        values: Sequence[Number],
        epochs: Sequence[int] | None = None,
        off_above: int | None = 128,
    ) -> None:
        if type not in _CURVES:
            raise ValueError(f'type of a K schedule must be one of {sorted(_CURVES)}, got {type!r}')
        values = _listed('values', values)
        epochs = _listed(
            'epochs', [0] * len(values) if epochs is None and type == 'constant' else epochs
        )
        _check(type, epochs, values)
        self.type, self.epochs, self.values = type, epochs, values
        self.off_above = off_above
        self._curve = _CURVES[type]

    def __call__(self, epoch: float) -> int | None:
        """K of an epoch counted from 1; None where clustering is off."""
        value = self._curve(epoch, self.epochs, self.values)
        if value is None:
            return None
        k = int(value)
        if self.off_above is not None and k > self.off_above:
            return None
        return max(k, 1)

    def at_runner_epoch(self, epoch: int) -> int | None:
        """K of mmengine's ``runner.epoch``, which counts from 0."""
        return self(epoch + 1)

    def off_epochs(self, max_epochs: int) -> Sequence[int]:
        """The epochs among 1..``max_epochs`` in which clustering is off."""
        return [e for e in range(1, max_epochs + 1) if self(e) is None]

    def __repr__(self) -> str:
        return (
            f'KSchedule({self.type!r}, values={self.values}, epochs={self.epochs}, '
            f'off_above={self.off_above})'
        )


def _constant(epoch: float, epochs: Sequence, values: Sequence) -> Number:
    return values[0]


def _piecewise(epoch: float, epochs: Sequence, values: Sequence) -> Number:
    current = values[0]
    for start, value in zip(epochs, values, strict=False):
        if start <= epoch:
            current = value
    return current


def _linear(epoch: float, epochs: Sequence, values: Sequence) -> Number:
    right = 1
    while right < len(epochs) - 1 and epoch > epochs[right]:
        right += 1
    left = right - 1
    slope = (values[right] - values[left]) / (epochs[right] - epochs[left])
    return values[left] + slope * (epoch - epochs[left])


def _cosine(epoch: float, epochs: Sequence, values: Sequence) -> Number:
    (start, end), (first, last) = epochs, values
    if epoch <= start:
        return first
    if epoch >= end:
        return last
    quarter = math.pi / 2
    angle = (epoch - start) / (end - start) * quarter
    if last > first:
        angle = quarter - angle
    high, low = max(first, last), min(first, last)
    return math.cos(angle) * (high - low) + low


_CURVES: dict[str, Callable] = dict(
    constant=_constant, piecewise=_piecewise, linear=_linear, cosine=_cosine
)


def _listed(name: str, points: Sequence | None) -> list:
    if not isinstance(points, (list, tuple)) or not points:
        raise ValueError(
            f'{name} of a K schedule must be a list of at least one number, got {points!r}'
        )
    return list(points)


def _check(type: str, epochs: list, values: list) -> None:
    if type == 'constant':
        if len(values) != 1:
            raise ValueError(
                f'a constant K schedule takes one value, got {values}; '
                "type='piecewise' changes K at given epochs"
            )
    elif len(epochs) != len(values):
        raise ValueError(
            f'a {type} K schedule needs one epoch for each value, got '
            f'epochs={epochs} and values={values}'
        )
    elif any(b <= a for a, b in zip(epochs, epochs[1:], strict=False)):
        raise ValueError(f'epochs of a K schedule must increase, got {epochs}')
    if type == 'linear' and len(values) < 2:
        raise ValueError(
            f'a linear K schedule needs at least two points, got {values}; '
            "type='constant' takes one"
        )
    if type == 'cosine' and len(values) != 2:
        raise ValueError(
            f'a cosine K schedule goes between two points, got {values}; '
            "type='linear' or 'piecewise' take more"
        )
    if type in ('linear', 'cosine') and None in values:
        raise ValueError(
            f'a {type} K schedule cannot pass through None (got {values}): '
            'let it rise above off_above, or use a piecewise schedule'
        )
