"""Bootstrap intervals over patients or images, and over seeds of a training."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from mmengine.evaluator import BaseMetric


class BootstrapMetric(BaseMetric):
    """A metric with percentile intervals of a bootstrap over patients.

    Args:
        resamples (int): Of the bootstrap; 0: no intervals.
        level (float): Share of the resamples within an interval.
        seed (int): Of the bootstrap.
        collect_device, prefix, collect_dir: See ``BaseMetric``.

    Raises:
        ValueError: Options out of range.
    """

    def __init__(self, resamples: int = 1000, level: float = 0.95, seed: int = 0, **kwargs) -> None:
        super().__init__(**kwargs)
        if resamples < 0 or not 0 < level < 1:
            raise ValueError(
                'resamples must not be negative and level within (0, 1), got '
                f'{resamples} and {level}'
            )
        self.resamples, self.level, self.seed = resamples, level, seed

    def require(self, sample: dict, keys: Sequence[str], needs: str) -> None:
        """Raise ValueError with what the metric needs if a data sample lacks a key."""
        missing = [key for key in keys if key not in sample]
        if missing:
            raise ValueError(f'a data sample lacks {missing}: {type(self).__name__} needs {needs}')

    def add(self, metrics: dict, name: str, value: Any, resampled: np.ndarray) -> None:
        """Set ``name`` and, of its resampled values, ``name_low`` and ``name_high``."""
        metrics[name] = float(value)
        if self.resamples:
            ends = percentile_interval(resampled, self.level)
            metrics[f'{name}_low'], metrics[f'{name}_high'] = ends

    def text(self, metrics: dict, name: str) -> str:
        """``'0.812 [0.795, 0.830]'``; ``'-'`` without such a metric."""
        if name not in metrics:
            return '-'
        ends = [f'{metrics[f"{name}_{end}"]:.3f}' for end in ('low', 'high') if self.resamples]
        return f'{metrics[name]:.3f}' + (f' [{", ".join(ends)}]' if ends else '')


class Interval(NamedTuple):
    """Both ends; NaN if nothing could be resampled."""

    low: float
    high: float


def resample_patients(
    patients: Sequence[Hashable], resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """How often each image occurs when patients are drawn with replacement.

    Images of one patient are not independent, so they are drawn together.

    Args:
        patients (sequence): The patient of each image.
        resamples (int): B.
        seed (int): Of the draws.

    Returns:
        np.ndarray: (B, images) int64; each row draws as many patients as there are.

    Raises:
        ValueError: No image, or a negative number of resamples.
    """
    if not len(patients) or resamples < 0:
        raise ValueError(
            f'{resamples} resamples of {len(patients)} images: give at least one '
            'image, and 0 or more resamples'
        )
    numbers = {patient: i for i, patient in enumerate(dict.fromkeys(patients))}
    index = np.array([numbers[patient] for patient in patients])
    n = len(numbers)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples)
    return counts[:, index]


def percentile_interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """The middle ``level`` of resampled values; NaNs are ignored."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(float('nan'), float('nan'))
    tail = 50 * (1 - level)
    return Interval(*map(float, np.percentile(values, [tail, 100 - tail])))


def weighted_means(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean over images in each resample.

    Args:
        values (np.ndarray): (images,), without NaN.
        counts (np.ndarray): (B, images), see :func:`resample_patients`.

    Returns:
        np.ndarray: (B,); NaN where a resample holds none of the images.
    """
    with np.errstate(invalid='ignore'):
        return counts @ values / counts.sum(-1)


def mean_of_resampled_seeds(values: Sequence[np.ndarray] | np.ndarray, seed: int = 1) -> np.ndarray:
    """In each resample, the mean of as many seeds as there are, drawn with replacement.

    Together with resampled images this is a two-level bootstrap. It underestimates the spread of
    S seeds by the factor sqrt((S - 1) / S): by a fifth for three; one seed has no spread. Every
    call draws the same seeds, so differences between rows are taken seed by seed.

    Args:
        values (sequence): For each of S seeds (B,), its score in each resample of the images.
        seed (int): Of the draws.

    Returns:
        np.ndarray: (B,).
    """
    table = np.stack(list(values))
    drawn = np.random.default_rng(seed).integers(len(table), size=table.shape)
    return np.take_along_axis(table, drawn, 0).mean(0)


def image_weights(images: int, resamples: int, seed: int = 0) -> np.ndarray:
    """Weights of a Bayesian bootstrap (Rubin 1981): every image counts in every resample.

    For scores over rare classes: drawn with replacement, the few images of a class would be
    missing from many resamples.

    Returns:
        np.ndarray: (B, images), positive; each row adds up to the number of images.
    """
    draw = np.random.default_rng(seed)
    return images * draw.dirichlet(np.ones(images), resamples)


def seed_summary(
    scores: Sequence[float],
    resampled: np.ndarray,
    reference: tuple[Sequence[float], np.ndarray] | None = None,
) -> dict[str, Any]:
    """Mean over seeds and its difference from a reference, with 95% intervals.

    Args:
        scores (sequence): Of each of S seeds, on all images.
        resampled (np.ndarray): (S, B): of each seed, in each resample of the images.
        reference (tuple, optional): The same two of the row to compare with, on the same
            resamples.

    Returns:
        dict: ``mean``, ``low``, ``high``, ``seeds``; with a reference ``difference``,
        ``difference_low``, ``difference_high``, of the same resamples, seed by seed.

    Raises:
        ValueError: Another number of seeds than the reference has.
    """
    found: dict[str, Any] = dict(mean=float(np.mean(scores)), seeds=[float(x) for x in scores])
    found['low'], found['high'] = percentile_interval(mean_of_resampled_seeds(resampled))
    if reference is not None:
        other, other_resampled = reference
        if len(scores) != len(other):
            raise ValueError(
                f'{len(scores)} seeds cannot be compared with {len(other)}: '
                'differences are taken seed by seed'
            )
        found['difference'] = found['mean'] - float(np.mean(other))
        found['difference_low'], found['difference_high'] = percentile_interval(
            mean_of_resampled_seeds(resampled - other_resampled)
        )
    return found
