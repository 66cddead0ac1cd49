"""Attention AP of several seeds, with intervals over patients."""

from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
from mmengine.config import Config

from orl_mm.evaluation.bootstrap import percentile_interval, resample_patients, weighted_means

from _tables.evaluate import evaluate
from _tables.runs import find_run
from _tables.table31 import evaluation_config

from .chest_plan import DATASETS

RESAMPLES = 2000
Scored = Dict[str, Any]  # as of _tables.evaluate.evaluate: metrics, details, patients


def configs(data: Path, trained: Optional[Config] = None) -> Dict[str, Config]:
    """The evaluation of each data set, with the network of a training."""
    return {name: evaluation_config(name, trained, {
        'test_dataloader.dataset.data_root': str(data / name)}) for name in DATASETS}


def score(checkpoint: Path, data: Path) -> Dict[str, Scored]:
    """Test a checkpoint on each data set, or take what an earlier test has left beside it."""
    run = find_run(str(checkpoint), row='small')
    return {name: evaluate(cfg, checkpoint, name)
            for name, cfg in configs(data, run.config).items()}


def summary(seeds: List[Scored], reference: Optional[List[Scored]] = None) -> Dict[str, Any]:
    """AP in percent, mean of the seeds, with a 95% interval over patients.

    The interval says how much the mean of these seeds would move with other patients; the
    spread of the seeds is beside it.

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
        other = _values(reference, parts, images).mean(0)
    out: Dict[str, Any] = {}
    for name, rows in [*((part, [i]) for i, part in enumerate(parts)),
                       ('mean', list(range(len(parts))))]:
        by_image = mine[:, rows].mean(1)  # (S, N)
        values = by_image.mean(0)
        low, high = percentile_interval(weighted_means(values, counts))
        out[name] = dict(ap=float(values.mean()), low=low, high=high,
                         seeds=by_image.mean(1).tolist())
        if other is not None:
            gain = values - other[rows].mean(0)
            low, high = percentile_interval(weighted_means(gain, counts))
            out[name].update(difference=float(gain.mean()), difference_low=low,
                             difference_high=high)
        cover = [np.mean([seed['metrics'][f'{parts[row]}_coverage'] for row in rows])
                 for seed in seeds]
        out[name]['coverage'] = float(np.mean(cover))
    return out


def _values(seeds: List[Scored], parts: List[str], images: List[str]) -> np.ndarray:
    """(S, R, N) in percent."""
    return 100 * np.array([[[seed['details'][part][image] for image in images]
                            for part in parts] for seed in seeds])
