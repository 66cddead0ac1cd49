"""Attention AP of several seeds, with intervals over patients and seeds."""

from pathlib import Path
from typing import Any

import numpy as np
from _tables.evaluate import evaluate
from _tables.runs import find_run
from _tables.table31 import evaluation_config
from mmengine.config import Config

from orl_mm.evaluation.bootstrap import (
    Interval,
    mean_of_resampled_seeds,
    paired,
    percentile_interval,
    resample_patients,
    weighted_means,
)

from .chest_plan import DATASETS

RESAMPLES = 2000
Scored = dict[str, Any]  # as of _tables.evaluate.evaluate: metrics, details, patients


def configs(data: Path, trained: Config | None = None) -> dict[str, Config]:
    """The evaluation of each data set, with the network of a training."""
    return {
        name: evaluation_config(
            name, trained, {'test_dataloader.dataset.data_root': str(data / name)}
        )
        for name in DATASETS
    }


def score(checkpoint: Path, data: Path) -> dict[str, Scored]:
    """Test a checkpoint on each data set, or take what an earlier test has left beside it."""
    run = find_run(str(checkpoint), row='small')
    return {
        name: evaluate(cfg, checkpoint, name) for name, cfg in configs(data, run.config).items()
    }


def summary(seeds: list[Scored], reference: list[Scored] | None = None) -> dict[str, Any]:
    """AP in percent, mean of the seeds, with a 95% interval over patients and seeds.

    Args:
        seeds (list): One result a seed, all on the same images.
        reference (list, optional): Of the row to compare with.

    Returns:
        dict: For each part and ``mean``, the mean over parts: ``ap``, ``low``, ``high``,
        ``seeds`` and, with a reference, ``difference``, ``difference_low``,
        ``difference_high`` (image by image, of the same resamples); for each part ``coverage``.
    """
    parts = list(seeds[0]['details'])
    images = list(seeds[0]['details'][parts[0]])
    patients = [seeds[0]['patients'].get(image, image) for image in images]
    counts = resample_patients(patients, RESAMPLES)
    mine, other = _values(seeds, parts, images), None
    if reference is not None:
        paired(seeds, reference)
        other = _values(reference, parts, images)
    out: dict[str, Any] = {}

    def interval(by_image: np.ndarray) -> Interval:  # of (S, N)
        return percentile_interval(
            mean_of_resampled_seeds([weighted_means(one, counts) for one in by_image])
        )

    for name, rows in [
        *((part, [i]) for i, part in enumerate(parts)),
        ('mean', list(range(len(parts)))),
    ]:
        by_image = mine[:, rows].mean(1)  # (S, N)
        low, high = interval(by_image)
        out[name] = dict(
            ap=float(by_image.mean()), low=low, high=high, seeds=by_image.mean(1).tolist()
        )
        if other is not None:
            gain = by_image - other[:, rows].mean(1)
            low, high = interval(gain)
            out[name].update(
                difference=float(gain.mean()), difference_low=low, difference_high=high
            )
        cover = [
            np.mean([seed['metrics'][f'{parts[row]}_coverage'] for row in rows]) for seed in seeds
        ]
        out[name]['coverage'] = float(np.mean(cover))
    return out


def _values(seeds: list[Scored], parts: list[str], images: list[str]) -> np.ndarray:
    """(S, R, N) in percent."""
    return 100 * np.array(
        [[[seed['details'][part][image] for image in images] for part in parts] for seed in seeds]
    )
