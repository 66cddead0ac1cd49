"""A number as a pure function of the epoch."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Union


class EpochSchedule:
    r"""A value through the points ``(epochs[i], values[i])``, constant outside of them.

    ``'linear'``: straight between two points. ``'cosine'``: with :math:`u` from 0 to 1
    between them, :math:`v_0 + (v_1 - v_0) (1 - \cos \pi u) / 2`. ``'step'``: the value of
    the last point passed. Epochs count from 0 and may be fractions.

    Args:
        values (sequence): At least one number.
        epochs (sequence, optional): One for each value, increasing; for a single value
            it is not needed.
        type (str): ``'linear'``, ``'cosine'`` or ``'step'``.

    Raises:
        ValueError: An unknown type, or points that do not define such a curve.

    Example:
        >>> EpochSchedule([0, 1e-3], [0, 10])(5.)
        0.0005
    """

    def __init__(
        self, values: Sequence[float], epochs: Sequence[float] | None = None, type: str = 'linear'
    ) -> None:
        if type not in ('linear', 'cosine', 'step'):
            raise ValueError(f"type must be 'linear', 'cosine' or 'step', got {type!r}")
        epochs = [0.0] if epochs is None and len(values) == 1 else epochs
        if not len(values) or epochs is None or len(epochs) != len(values):
            raise ValueError(
                'a schedule needs values and one epoch for each, got '
                f'values={values} and epochs={epochs}'
            )
        if any(b <= a for a, b in zip(epochs, epochs[1:], strict=False)):
            raise ValueError(f'epochs of a schedule must increase, got {list(epochs)}')
        self.values, self.epochs, self.type = list(values), list(epochs), type

    @classmethod
    def of(cls, value: Union[float, dict, 'EpochSchedule']) -> 'EpochSchedule':
        """From a number (constant), the arguments as a dict, or a schedule."""
        if isinstance(value, cls):
            return value
        return cls(**value) if isinstance(value, dict) else cls([value])

    def __call__(self, epoch: float) -> float:
        """The value at an epoch."""
        right = bisect_right(self.epochs, epoch)
        if right == 0 or right == len(self.epochs) or self.type == 'step':
            return self.values[max(right - 1, 0)]
        start, end = self.epochs[right - 1 : right + 1]
        first, last = self.values[right - 1 : right + 1]
        part = (epoch - start) / (end - start)
        if self.type == 'cosine':
            part = (1 - math.cos(math.pi * part)) / 2
        return first + (last - first) * part

    def __repr__(self) -> str:
        return f'EpochSchedule({self.values}, {self.epochs}, {self.type!r})'
