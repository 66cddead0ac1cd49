"""Average precision of attention heads on parts (thesis, table 3.1)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

from orl_mm.registry import METRICS

from .bootstrap import BootstrapMetric, resample_patients
from .part_score import ImageScores, PartScore, score_image, score_part

HEADS = ('stored', 'best')
UNASSIGNED = ('best', 'best_per_image')


@METRICS.register_module()
class AttentionAP(BootstrapMetric):
    """Average precision of attention maps against masks of parts, in full resolution.

    scikit-learn's ``average_precision_score`` of the map enlarged by nearest neighbor,
    exactly, per part: of each image, then the mean over images; and of the pixels of all
    images together (``_pooled``). Both with the percentile interval of a bootstrap over
    patients. A constant map scores the part's share of the pixels, ``_prevalence``.

    Each data sample carries ``attention`` (heads, h, w), from :class:`AttentionProbe`;
    ``part_masks`` (R, H, W) of 0 and 1 and ``parts``, R names, which may differ between
    images; ``id``, and ``patient``, which defaults to ``id``. A part that no image has
    is absent from the result, never 0; an empty mask is left out, counted and logged.

    Args:
        heads (str or dict): ``'stored'``: a part's head as the checkpoint says
            (``meta['attention_heads']``, which ``StoredHeadsHook`` brings here), and for a
            part without one as ``unassigned`` says. ``'best'``: no head counts as assigned.
            Or head -> name of its part.
        unassigned (str): ``'best'``: the head with the highest mean over the images, of all
            heads; ``'best_per_image'``: the highest of each image, an upper bound.
        kwargs: See :class:`~.bootstrap.BootstrapMetric`. The head is chosen once, so an interval
            does not cover the choice.

    Returns (``evaluate``): per part ``<part>``, ``<part>_low``, ``<part>_high``,
    ``<part>_pooled`` and its ends, ``<part>_coverage`` (see
    :func:`~orl_mm.evaluation.attention_scores.coverage`), ``<part>_prevalence``,
    ``<part>_head`` (-1: several), ``<part>_assigned`` and ``<part>_images``; the mean over
    parts under ``mean``, ``mean_pooled`` with their ends; ``images``.

    Attributes:
        stored_heads (dict, optional): Head -> part of the checkpoint.
        details (dict): After ``evaluate``, in the main process: part -> image id -> AP.
        patients (dict): Likewise: image id -> patient.

    Raises:
        ValueError: Options that do not exist, a head beyond the network's, samples without
            the fields above, or of different numbers of heads.
    """

    default_prefix = 'attention_ap'

    def __init__(
        self, heads: str | dict[int, str] = 'stored', unassigned: str = 'best', **kwargs
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(heads, str) and heads not in HEADS or unassigned not in UNASSIGNED:
            raise ValueError(
                f'heads must be a dict of head numbers and parts or one of {HEADS}, '
                f'and unassigned one of {UNASSIGNED}, got {heads!r}, {unassigned!r}'
            )
        self.heads = heads if isinstance(heads, str) else {int(h): p for h, p in heads.items()}
        self.unassigned = unassigned
        self.stored_heads: dict[int, str] | None = None
        self.details: dict[str, dict[str, float]] = {}
        self.patients: dict[str, str] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Score every head on every part of each image; keep counts, not masks."""
        for sample in data_samples:
            needs = (
                'a model such as orl_mm.AttentionProbe, orl_mm.LoadParts in the pipeline, and '
                "PackInputs(algorithm_keys=('part_masks', ), "
                "meta_keys=('img_path', 'id', 'patient', 'parts'))"
            )
            self.require(sample, ('attention', 'part_masks', 'parts', 'id'), needs)
            maps = sample['attention'].detach().cpu()
            maps = maps if maps.dtype == torch.float64 else maps.float()
            patient = sample.get('patient')
            self.results.append(
                score_image(
                    sample['id'],
                    sample['id'] if patient is None else patient,
                    sample['parts'],
                    maps.numpy(),
                    sample['part_masks'],
                )
            )

    def compute_metrics(self, results: list[ImageScores]) -> dict[str, float]:
        """Means, pooled scores and intervals, part by part."""
        results = [ImageScores(*image) for image in results]  # collecting leaves bare tuples
        num_heads = {len(image.maps) for image in results}
        if len(num_heads) != 1:
            raise ValueError(
                f'images have attention of {sorted(num_heads)} heads, not of one network'
            )
        assigned = self._assigned(num_heads.pop())
        counts = resample_patients([image.patient for image in results], self.resamples, self.seed)
        found: dict[str, PartScore] = {}
        parts = dict.fromkeys(part for image in results for part in image.parts)
        absent = [part for part in assigned if part not in parts]
        if absent:
            print_log(
                f'heads are assigned to {absent}, which these images have no masks of',
                logger='current',
            )
        for part in parts:
            score, empty = score_part(
                part, results, counts, assigned.get(part), self.unassigned == 'best_per_image'
            )
            if empty:
                print_log(
                    f'{empty} masks of {part} are empty and left out', logger='current', level=30
                )
            if score is not None:
                found[part] = score
        self.details = {
            part: {
                results[i].id: float(value)
                for i, value in zip(score.images, score.values, strict=False)
            }
            for part, score in found.items()
        }
        self.patients = {image.id: image.patient for image in results}
        metrics: dict[str, float] = dict(images=len(results))
        for part, score in found.items():
            self.add(metrics, part, score.values.mean(), score.means)
            self.add(metrics, f'{part}_pooled', score.pooled, score.pools)
            metrics[f'{part}_coverage'] = score.coverage
            metrics[f'{part}_head'] = score.head
            metrics[f'{part}_assigned'] = int(score.assigned)
            metrics[f'{part}_prevalence'] = score.prevalence
            metrics[f'{part}_images'] = len(score.images)
        if found:
            scores = list(found.values())
            means = np.mean([score.values.mean() for score in scores])
            self.add(metrics, 'mean', means, np.mean([score.means for score in scores], 0))
            pooled = np.mean([score.pooled for score in scores])
            self.add(metrics, 'mean_pooled', pooled, np.mean([score.pools for score in scores], 0))
        print_log('\n' + self._table(metrics, found), logger='current')
        return {key: float(value) for key, value in metrics.items()}  # mmengine logs no int

    def _assigned(self, num_heads: int) -> dict[str, list[int]]:
        """Part -> its heads."""
        stored = (self.stored_heads or {}) if self.heads == 'stored' else {}
        heads = stored if isinstance(self.heads, str) else self.heads
        beyond = [head for head in heads if not 0 <= head < num_heads]
        if beyond:
            raise ValueError(
                f'the head map {heads} assigns {beyond}, but the network has '
                f'{num_heads} heads, 0 to {num_heads - 1}'
            )
        of: dict[str, list[int]] = {}
        for head, part in heads.items():
            of.setdefault(part, []).append(head)
        return of

    def _table(self, metrics: dict[str, float], found: dict[str, PartScore]) -> str:
        lines = [f'attention AP, mean over images and pooled [{self.level:.0%} over patients]']
        for name in [*found, 'mean'] if found else []:
            line = (
                f'  {name:<12}  {self.text(metrics, name)}  {self.text(metrics, name + "_pooled")}'
            )
            if name in found:
                head, how = found[name].head, 'assigned' if found[name].assigned else 'best'
                line += (
                    f'  head {"of each image" if head < 0 else head} ({how}), coverage '
                    f'{found[name].coverage:.2f}, {len(found[name].images)} images'
                )
            lines.append(line)
        return '\n'.join(lines)
