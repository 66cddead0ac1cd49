"""mIoU of several seeds, differences, and intervals over images and seeds."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _tables.evaluate import build_test_runner, run_test
from mmengine.config import Config

from orl_mm.evaluation.bootstrap import mean_of_resampled_seeds, paired, percentile_interval

RESAMPLES = 2000


class Areas(NamedTuple):
    """Pixels of each image and class: (n, C) each."""

    intersect: np.ndarray
    union: np.ndarray


def areas_of_test(cfg: Config, checkpoint: Path) -> tuple[Areas, float]:
    """Run a config's test as tools/test.py does, and keep what mmseg's IoUMetric has counted.

    Returns:
        tuple: The counts, and mIoU in percent as mmseg reports it.
    """
    cfg.work_dir = str(checkpoint.parent / 'test')
    runner = build_test_runner(cfg, checkpoint)
    metric = runner.test_evaluator.metrics[0]
    kept: list[tuple] = []
    compute = metric.compute_metrics

    def keep_and_compute(results: list) -> dict:
        kept.extend(results)
        return compute(results)

    metric.compute_metrics = keep_and_compute
    found = run_test(cfg, runner)
    intersect, union = (np.stack([np.asarray(r[i]) for r in kept]) for i in (0, 1))
    return Areas(intersect.astype(float), union.astype(float)), float(found['mIoU'])


def resampled_miou(areas: Areas, counts: np.ndarray) -> np.ndarray:
    """mIoU in each resample of the images.

    Args:
        areas (Areas): (n, C).
        counts (np.ndarray): (B, n): how much each image counts.

    Returns:
        np.ndarray: (B,) in [0, 1]; a class that occurs neither in truth nor in prediction does
        not count, as in mmseg.
    """
    intersect, union = counts @ areas.intersect, counts @ areas.union
    with np.errstate(invalid='ignore'):
        return np.nanmean(np.where(union > 0, intersect / union, np.nan), 1)


def resampled_objects(areas: Areas, counts: np.ndarray) -> np.ndarray:
    """IoU of objects of any class against the background, in each resample of the images.

    From the same predictions as mIoU, and asked by more pixels: what is no background in truth
    and in prediction, over what is none in one of them.

    Args, returns: As :func:`resampled_miou`; class 0 is the background.
    """
    intersect, union = counts @ areas.intersect, counts @ areas.union
    # |truth| + |prediction| of all classes is twice the pixels.
    pixels = (intersect.sum(1) + union.sum(1)) / 2
    return (pixels - union[:, 0]) / (pixels - intersect[:, 0])


def image_weights(images: int, resamples: int, seed: int = 0) -> np.ndarray:
    """(B, n) positive weights that add up to n, from a flat Dirichlet distribution."""
    draw = np.random.default_rng(seed)
    return images * draw.dirichlet(np.ones(images), resamples)


def summary(
    seeds: list[Areas],
    reference: list[Areas] | None = None,
    score: Callable[[Areas, np.ndarray], np.ndarray] = resampled_miou,
) -> dict[str, object]:
    """Mean over seeds and the difference from a reference, 95% intervals over images and seeds.

    Seeds: see :func:`~orl_mm.evaluation.bootstrap.mean_of_resampled_seeds`. Images: a Bayesian
    bootstrap (Rubin 1981); drawn with replacement, the few images of a class would be absent
    from many resamples, and mIoU a mean over fewer classes there, which moves the interval up.

    Args:
        seeds (list): Areas of each seed.
        reference (list, optional): Of the row to compare with.
        score (callable): :func:`resampled_miou` or :func:`resampled_objects`.

    Returns:
        dict: ``mean``, ``low``, ``high``, ``seeds`` and, with a reference, ``difference``,
        ``difference_low``, ``difference_high`` (of the same resamples), in percent.
    """
    once = np.ones((1, len(seeds[0].union)))
    counts = image_weights(len(seeds[0].union), RESAMPLES)

    def each(group: list[Areas], of: np.ndarray) -> np.ndarray:
        return 100 * np.stack([score(areas, of) for areas in group])

    values = each(seeds, counts)
    found = each(seeds, once)[:, 0]
    out = dict(mean=float(found.mean()), seeds=found.tolist())
    out['low'], out['high'] = percentile_interval(mean_of_resampled_seeds(values))
    if reference is not None:
        paired(seeds, reference)
        out['difference'] = out['mean'] - float(each(reference, once).mean())
        out['difference_low'], out['difference_high'] = percentile_interval(
            mean_of_resampled_seeds(values - each(reference, counts))
        )
    return out
