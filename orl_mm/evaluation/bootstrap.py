"""Percentile intervals by resampling patients, and trainings beside them."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """Both ends; NaN where nothing could be resampled."""

    low: float
    high: float


def resample_patients(
    patients: Sequence[Hashable], resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """How often each image occurs when patients are drawn with replacement.

    Images of one patient are not independent, so they come and go together.

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
    """The middle ``level`` of resampled values; NaNs, which have no value, are left out."""
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


def mean_of_resampled_seeds(values: Sequence[np.ndarray], seed: int = 1) -> np.ndarray:
    """In each resample, the mean of as many seeds as there are, drawn with replacement.

    With the images of a resample drawn beside it, a two-level bootstrap. It takes the spread of S
    seeds for too small by the factor sqrt((S - 1) / S): a fifth for three, 0 from one seed. Rows
    of one table draw the same seeds, so a difference is seed by seed.

    Args:
        values (sequence): For each of S seeds (B,), its score in each resample of the images.
        seed (int): Of the draws.

    Returns:
        np.ndarray: (B,).
    """
    values = np.stack(values)
    drawn = np.random.default_rng(seed).integers(len(values), size=values.shape)
    return np.take_along_axis(values, drawn, 0).mean(0)


def paired(seeds: Sequence, reference: Sequence) -> None:
    """Raises ValueError unless there is a reference for each seed."""
    if len(seeds) != len(reference):
        raise ValueError(
            f'{len(seeds)} seeds cannot be compared with {len(reference)}: '
            'differences are taken seed by seed'
        )
