"""Area under the ROC curve of several findings (thesis, table 3.2)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log
from sklearn.metrics import roc_auc_score

from orl_mm.registry import METRICS

from .bootstrap import BootstrapMetric, resample_patients

CHUNK = 4_000_000  # numbers in an array of the resamples


@METRICS.register_module()
class MultiLabelAUROC(BootstrapMetric):
    """AUROC of each class and its mean, with intervals of a bootstrap over patients.

    scikit-learn's ``roc_auc_score`` of each class over the images whose label is known
    (not NaN). A class in which only one value occurs has no AUROC: it is left out of the
    mean, and the log names it.

    Each data sample carries ``pred_score`` and ``gt_score``, (C,) each; ``patient``, in
    whose place ``id``, ``img_path`` or nothing (each image its own patient) serves. The
    names of the classes come from the data set's metainfo.

    Args:
        kwargs: See :class:`~.bootstrap.BootstrapMetric`. A resample in which a class has only one
            value does not count for that class, nor for the mean.

    Returns (``evaluate``): ``mean``, ``<class>``, each with ``_low`` and ``_high``;
    ``<class>_images`` with a known label and ``<class>_positives``; ``images``, ``patients``
    and ``classes``, the number of classes in the mean.

    Raises:
        ValueError: Options out of range, samples without the fields above, scores that are
            not finite, or labels other than 0, 1 and NaN.
    """

    default_prefix = 'auroc'

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep scores and labels."""
        for sample in data_samples:
            needs = (
                'a model such as orl_mm.LinearProbe and a data set with gt_score, such as '
                'orl_mm.CheXpert with classes'
            )
            self.require(sample, ('pred_score', 'gt_score'), needs)
            known = [sample.get(key) for key in ('patient', 'id', 'img_path')]
            patient = next((name for name in known if name is not None), None)
            scores = (sample[key].double().cpu().numpy() for key in ('pred_score', 'gt_score'))
            self.results.append((*scores, patient))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Class by class."""
        scores, truth = (np.stack(arrays) for arrays in list(zip(*results, strict=False))[:2])
        if not np.isfinite(scores).all():
            raise ValueError('scores hold values that are not finite: the network has diverged')
        if not np.isin(truth[~np.isnan(truth)], (0, 1)).all():
            raise ValueError(
                f'gt_score must be 0, 1 or NaN (unknown), got {np.unique(truth).tolist()[:5]}'
            )
        patients = [i if patient is None else patient for i, (_, _, patient) in enumerate(results)]
        counts = resample_patients(patients, self.resamples, self.seed)
        names = list((self.dataset_meta or {}).get('classes') or ())
        if len(names) != truth.shape[1]:
            names = [f'class_{c}' for c in range(truth.shape[1])]
        metrics: dict[str, float] = dict(images=len(results), patients=len(set(patients)))
        values, resampled = [], []
        for c, name in enumerate(names):
            known = ~np.isnan(truth[:, c])
            labels, predicted = truth[known, c], scores[known, c]
            metrics[f'{name}_images'] = int(known.sum())
            metrics[f'{name}_positives'] = int(labels.sum())
            if len(np.unique(labels)) < 2:
                what = f'only {labels[0]:g}' if len(labels) else 'no label'
                print_log(
                    f'{name} has {what} in {len(labels)} images: it has no AUROC and is '
                    'left out of the mean',
                    logger='current',
                    level=30,
                )
                continue
            values.append(roc_auc_score(labels, predicted))
            resampled.append(resampled_auroc(labels, predicted, counts[:, known]))
            self.add(metrics, name, values[-1], resampled[-1])
        metrics['classes'] = len(values)
        if values:
            self.add(metrics, 'mean', np.mean(values), np.mean(resampled, 0))
        self._log(metrics, names)
        return {key: float(value) for key, value in metrics.items()}  # mmengine logs no int

    def _log(self, metrics: dict[str, float], names: list[str]) -> None:
        lines = [f'AUROC of {metrics["images"]} images of {metrics["patients"]} patients']
        for name in [*names, 'mean']:
            line = f'  {name:<20}  {self.text(metrics, name)}'
            if f'{name}_positives' in metrics:
                line += f'  {metrics[name + "_positives"]} of {metrics[name + "_images"]}'
            lines.append(line)
        print_log('\n'.join(lines), logger='current')


def resampled_auroc(truth: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """AUROC with each image counted as often as it is in a resample.

    The chance that a positive image scores above a negative one, ties counting half.

    Args:
        truth (np.ndarray): (N,) of 0 and 1.
        scores (np.ndarray): (N,).
        counts (np.ndarray): (B, N), see :func:`.bootstrap.resample_patients`.

    Returns:
        np.ndarray: (B,); NaN where a resample has only one value.
    """
    order = np.argsort(scores, kind='stable')
    ordered, truth = scores[order], truth[order]
    starts = np.append(0, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1)
    step = max(CHUNK // max(len(scores), 1), 1)
    found = [np.empty(0)]
    for start in range(0, len(counts), step):
        weights = counts[start : start + step][:, order]
        positive = np.add.reduceat(weights * truth, starts, 1)
        negative = np.add.reduceat(weights * (1 - truth), starts, 1)
        below = negative.cumsum(1) - negative / 2
        with np.errstate(invalid='ignore'):
            found.append((positive * below).sum(1) / (positive.sum(1) * negative.sum(1)))
    return np.concatenate(found)
