"""mIoU over resampled images, from the pixels that mmseg's metric counts in each image."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .bootstrap import image_weights, seed_summary

RESAMPLES = 2000


class Areas(NamedTuple):
    """Pixels of each image and class in the intersection and in the union, (N, C) each."""

    intersect: np.ndarray
    union: np.ndarray


def areas_of(images: Sequence[dict[str, Sequence[int]]], num_classes: int) -> Areas:
    """``images['iou']`` of a ``result.json``: for each image class -> intersection, union."""
    found = np.zeros((2, len(images), num_classes))
    for i, image in enumerate(images):
        for c, areas in image.items():
            found[:, i, int(c)] = areas
    return Areas(*found)


def resampled_miou(areas: Areas, counts: np.ndarray) -> np.ndarray:
    """mIoU in each resample of the images.

    Args:
        areas (Areas): Of N images.
        counts (np.ndarray): (B, N): how much each image counts.

    Returns:
        np.ndarray: (B,) in [0, 1]; as in mmseg, a class that occurs neither in the truth nor in
        the predictions does not count.
    """
    intersect, union = counts @ areas.intersect, counts @ areas.union
    with np.errstate(invalid='ignore'):
        return np.nanmean(np.where(union > 0, intersect / union, np.nan), 1)


def resampled_object_iou(areas: Areas, counts: np.ndarray) -> np.ndarray:
    """IoU of objects of any class against the background (class 0), in each resample.

    Args, returns: As :func:`resampled_miou`.
    """
    intersect, union = counts @ areas.intersect, counts @ areas.union
    # Over all classes, |truth| + |prediction| is twice the number of pixels.
    pixels = (intersect.sum(1) + union.sum(1)) / 2
    return (pixels - union[:, 0]) / (pixels - intersect[:, 0])


def segmentation_summary(
    seeds: Sequence[Areas],
    reference: Sequence[Areas] | None = None,
    score: Callable[[Areas, np.ndarray], np.ndarray] = resampled_miou,
) -> dict[str, Any]:
    """Score in percent with 95% intervals over images (Bayesian bootstrap) and seeds.

    Args:
        seeds (sequence): Areas of each seed, all on the same images.
        reference (sequence, optional): Of the row to compare with.
        score (callable): :func:`resampled_miou` or :func:`resampled_object_iou`.

    Returns:
        dict: See :func:`.bootstrap.seed_summary`.
    """
    images = len(seeds[0].union)
    once, counts = np.ones((1, images)), image_weights(images, RESAMPLES)

    def scores(group: Sequence[Areas]) -> tuple[list[float], np.ndarray]:
        points = [100 * float(score(one, once)[0]) for one in group]
        return points, 100 * np.stack([score(one, counts) for one in group])

    return seed_summary(*scores(seeds), None if reference is None else scores(reference))
