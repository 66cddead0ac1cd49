"""Percentile intervals by resampling patients."""

from typing import Hashable, NamedTuple, Sequence

import numpy as np


class Interval(NamedTuple):
    """Both ends; NaN where nothing could be resampled."""
    low: float
    high: float


def resample_patients(patients: Sequence[Hashable], resamples: int = 1000,
                      seed: int = 0) -> np.ndarray:
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
        raise ValueError(f'{resamples} resamples of {len(patients)} images: give at least one '
                         'image, and 0 or more resamples')
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
