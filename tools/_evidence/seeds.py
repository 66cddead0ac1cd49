"""Intervals over trainings and images at once: what another seed would change is in them."""

from typing import Sequence

import numpy as np


def mean_of_resampled_seeds(values: Sequence[np.ndarray], seed: int = 1) -> np.ndarray:
    """In each resample, the mean of as many seeds as there are, drawn with replacement.

    With the images of a resample drawn beside it, a two-level bootstrap. From three seeds it
    still takes their spread for a fifth too small (the square root of 2/3), and from one seed
    for nothing. Rows of one table draw the same seeds, so a difference is seed by seed.

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
        raise ValueError(f'{len(seeds)} seeds cannot be compared with {len(reference)}: '
                         'differences are taken seed by seed')
