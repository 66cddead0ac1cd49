"""The score of one part over a data set: head, means, and resampled means."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from .attention_scores import (
    average_precision,
    choose_head,
    coverage,
    patch_counts,
    sum_thresholds,
    thresholds,
)
from .bootstrap import weighted_means

CHUNK = 500_000  # numbers in an array of the pooled resamples


class ImageScores(NamedTuple):
    """Scores and pixel counts of one image, in place of its masks.

    A heads, R parts of this image, N patches; see :mod:`.attention_scores`.
    """

    id: str
    patient: str
    parts: tuple[str, ...]
    maps: np.ndarray  # (A, N)
    positives: np.ndarray  # (R, N)
    pixels: np.ndarray  # (N,)
    ap: np.ndarray  # (A, R)
    coverage: np.ndarray  # (A, R)


class PartScore(NamedTuple):
    """One part over the images that show it."""

    head: int  # -1: of each image its own
    assigned: bool
    images: list[int]
    values: np.ndarray  # AP of each of these images
    coverage: float
    pooled: float
    prevalence: float
    means: np.ndarray  # (B,), the mean in each resample
    pools: np.ndarray  # (B,), the pooled score in each resample


def score_image(
    id: str, patient: str, parts: Sequence[str], maps: np.ndarray, masks: Tensor
) -> ImageScores:
    """Every map of an image against every part.

    Args:
        id, patient (str): Names.
        parts (sequence): R names.
        maps (np.ndarray): (A, h, w).
        masks (Tensor): (R, H, W) of 0 and 1.

    Raises:
        ValueError: Names and masks of different number, or maps that are not (A, h, w).
    """
    if maps.ndim != 3 or len(parts) != len(masks):
        raise ValueError(
            f'image {id}: attention must be (heads, h, w) and masks one for each of '
            f'{list(parts)}, got {maps.shape} and {tuple(masks.shape)}'
        )
    positives, pixels = patch_counts(masks, maps.shape[1:])
    maps = maps.reshape(len(maps), -1)
    return ImageScores(
        id,
        patient,
        tuple(parts),
        maps,
        positives,
        pixels,
        average_precision(maps, positives, pixels),
        coverage(maps, positives),
    )


def score_part(
    part: str,
    images: Sequence[ImageScores],
    counts: np.ndarray,
    heads: Sequence[int] | None = None,
    per_image: bool = False,
) -> tuple[PartScore | None, int]:
    """Over all images that show a part.

    Args:
        part (str): Its name.
        images (sequence): All images of the data set.
        counts (np.ndarray): (B, images), see :func:`.bootstrap.resample_patients`.
        heads (sequence, optional): Those assigned to the part; of several, the best by the
            mean over images. None: of all heads.
        per_image (bool): Without assigned heads, the best head of each image.

    Returns:
        tuple: :class:`PartScore`, None where no image shows the part; and the number of
        images whose mask of the part is empty.
    """
    named = [(i, x.parts.index(part)) for i, x in enumerate(images) if part in x.parts]
    shown = [(i, row) for i, row in named if images[i].positives[row].any()]
    empty = len(named) - len(shown)
    if not shown:
        return None, empty
    index = [i for i, _ in shown]
    ap = np.stack([images[i].ap[:, row] for i, row in shown])
    if heads is None and per_image:
        chosen = ap.argmax(1)
    else:
        chosen = np.full(len(ap), choose_head(ap, heads or range(ap.shape[1])))
    values, counts = ap[np.arange(len(ap)), chosen], counts[:, index]
    picked = [(i, row, head) for (i, row), head in zip(shown, chosen, strict=True)]
    scores = np.concatenate([images[i].maps[head] for i, _, head in picked])
    positives = np.concatenate([images[i].positives[row] for i, row, _ in picked])
    pixels = np.concatenate([images[i].pixels for i in index])
    of_image = np.repeat(np.arange(len(shown)), [len(images[i].pixels) for i in index])
    return PartScore(
        head=int(chosen[0]) if (chosen == chosen[0]).all() else -1,
        assigned=heads is not None,
        images=index,
        values=values,
        coverage=float(np.mean([images[i].coverage[head, row] for i, row, head in picked])),
        pooled=float(average_precision(scores[None], positives[None], pixels)[0, 0]),
        prevalence=float(positives.sum() / pixels.sum()),
        means=weighted_means(values, counts),
        pools=_pooled_resamples(scores, positives, pixels, of_image, counts),
    ), empty


def _pooled_resamples(
    scores: np.ndarray,
    positives: np.ndarray,
    pixels: np.ndarray,
    of_image: np.ndarray,
    counts: np.ndarray,
) -> np.ndarray:
    """(B,): the patches of an image count as often as the resample holds it."""
    order, last = thresholds(scores)
    positives, pixels, of_image = positives[order], pixels[order], of_image[order]
    step = max(CHUNK // len(scores), 1)
    chunks = (counts[start : start + step, of_image] for start in range(0, len(counts), step))
    return np.concatenate(
        [
            np.empty(0),
            *(sum_thresholds((n * positives)[:, None], n * pixels, last)[:, 0] for n in chunks),
        ]
    )
