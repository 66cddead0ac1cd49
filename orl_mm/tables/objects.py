"""Agreement of the objects that networks find with the real ones: scores, table, pictures."""

from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from mmcv.transforms import Compose
from mmengine.config import Config
from torch import Tensor, nn

from orl_mm.datasets.object_masks import ObjectMasks, batches
from orl_mm.evaluation.bootstrap import resample_patients, seed_summary
from orl_mm.evaluation.object_agreement import ObjectAgreement, object_agreement, summarize
from orl_mm.registry import TRANSFORMS
from orl_mm.structures import RegionBatch
from orl_mm.visualization import match_ids, objects_panel, rank_by_size
from orl_mm.visualization.draw import resize_labels
from orl_mm.visualization.panels import plural
from orl_mm.visualization.probe import find_objects
from orl_mm.visualization.samples import short_name, training_dataset_config

from .markdown import interval_text

PRIOR = 'prior masks'
LARGE = 0.02  # share of the image
RESAMPLES = 2000
COLUMNS = {
    'best_overlap_large': f'best overlap, objects above {LARGE:.0%}',
    'best_overlap': 'best overlap, all',
    'ari': 'ARI',
    'foreground_ari': 'ARI of objects',
    'regions': 'regions',
}


class Loaded(NamedTuple):
    """A data set in memory: truth, whole images (N, 3, H, W) uint8 BGR, superpixels."""

    truth: list[ObjectMasks]
    x0: Tensor
    regions: list[Tensor] | None


class Entry(NamedTuple):
    """One clustering of one checkpoint's features on one data set.

    ``labels`` (int16) are kept of the first clustering of a network at each step, for a picture.
    """

    name: str
    step: int
    seed: int
    data: str
    images: list[ObjectAgreement]
    labels: list[np.ndarray] | None
    checkpoint: str | None


class Scorer:
    """Scores the objects of several networks, found in the same way.

    Args:
        cfg (Config): Of R2O: superpixels, K, images per mini-batch.
        batch_size (int, optional): Images clustered together; default: the config's.
        num_clusters (int, optional): K; default: the config's.
        device (str): Where networks run.

    Raises:
        ValueError: The config's pipeline has no ``GenerateSuperpixels``.
    """

    def __init__(
        self,
        cfg: Config,
        batch_size: int | None = None,
        num_clusters: int | None = None,
        device: str = 'cpu',
    ) -> None:
        self.batch_size = batch_size or cfg.train_dataloader.batch_size
        self.num_clusters, self.device = num_clusters, device
        steps = []
        for step in training_dataset_config(cfg)['pipeline']:
            if short_name(step) in ('LoadImage', 'LoadImageFromFile', 'GenerateSuperpixels'):
                step = dict(step)
                step.pop('cache', None)
                steps.append(step)
        if not steps or short_name(steps[-1]) != 'GenerateSuperpixels':
            raise ValueError(
                f'{cfg.filename} has no orl_mm.GenerateSuperpixels: take a config of orl_mm.R2O'
            )
        self.pipeline = Compose([TRANSFORMS.build(step) for step in steps])
        self.size: int = self.pipeline.transforms[-1].size
        self.data: dict[str, Loaded] = {}
        self.entries: list[Entry] = []

    def load(self, data: dict[str, list[ObjectMasks]]) -> None:
        """Read the images of each data set and make their superpixels."""
        for name, truth in data.items():
            samples = [self.pipeline(dict(img_path=str(image.path))) for image in truth]
            x0 = torch.from_numpy(np.stack([s['x0'] for s in samples])).permute(0, 3, 1, 2)
            regions = [s['regions'] for s in samples] if 'regions' in samples[0] else None
            self.data[name] = Loaded(truth, x0, regions)

    def add(
        self,
        name: str,
        model: nn.Module | None,
        step: int = 0,
        seed: int = 0,
        checkpoint: str | None = None,
    ) -> None:
        """Score a network on every data set; None: the superpixels themselves."""
        for data, loaded in self.data.items():
            if model is None:
                if loaded.regions is None:
                    continue
                labels = [region.numpy() for region in loaded.regions]
            else:
                labels = self._objects(model, loaded, seed)
            images = [
                object_agreement(found.astype(np.int64), truth.objects, truth.ignore)
                for found, truth in zip(labels, loaded.truth, strict=True)
            ]
            first = (name, step, data) not in {(e.name, e.step, e.data) for e in self.entries}
            kept = [found.astype(np.int16) for found in labels] if first else None
            self.entries.append(Entry(name, step, seed, data, images, kept, checkpoint))

    def _objects(self, model: Any, loaded: Loaded, seed: int) -> list[np.ndarray]:
        model = model.to(self.device)
        model.refiner.seed = seed
        if self.num_clusters is not None:
            model.refiner.num_clusters = self.num_clusters
        found: dict[int, np.ndarray] = {}
        for indices in batches(loaded.truth, self.batch_size, seed):
            regions = counts = None
            if loaded.regions is not None:
                maps = [loaded.regions[i] for i in indices]
                regions, counts = (
                    torch.stack([m.int() for m in maps]),
                    [int(m.max()) + 1 for m in maps],
                )
            batch = RegionBatch(torch.zeros(len(indices), 2, 5), regions, counts or ())
            data = model.data_preprocessor(
                dict(inputs=[loaded.x0[indices]], data_samples=batch), False
            )
            labels = find_objects(model, data['inputs'][0], data['data_samples'].labels, counts)
            for i, image in zip(indices, labels, strict=True):
                found.setdefault(i, resize_labels(image, self.size, self.size))
        return [found[i] for i in range(len(loaded.truth))]


def object_table(scorer: Scorer) -> dict[str, Any]:
    """All scores: a row for each network, step and data set.

    Returns:
        dict: ``rows``, ``batch_size``, ``num_clusters``, ``large`` (share of the image from
        which on objects are large), ``images`` (number in each data set). A row has the means
        over clusterings of :func:`~orl_mm.evaluation.object_agreement.summarize`, ``low`` and
        ``high`` of ``best_overlap_large``, and ``above_prior`` with its ends: 95% intervals over
        images and trainings.
    """
    groups: dict[tuple, list[Entry]] = {}
    for entry in scorer.entries:
        groups.setdefault((entry.name, entry.step, entry.data), []).append(entry)
    rows = []
    for (name, step, data), entries in groups.items():
        numbers = [summarize(entry.images, LARGE) for entry in entries]
        trainings: dict[Any, list[Entry]] = {}  # random weights are others with each seed
        for entry in entries:
            trainings.setdefault(entry.checkpoint or entry.seed, []).append(entry)
        row: dict[str, Any] = dict(
            network=name,
            step=step,
            data=data,
            trainings=len(trainings),
            clusterings=len(entries),
            checkpoint=entries[0].checkpoint,
            **{key: float(np.mean([n[key] for n in numbers])) for key in numbers[0]},
        )
        prior = groups.get((PRIOR, 0, data)) if name != PRIOR else None
        reference = None if prior is None else _overlaps([prior] * len(trainings))
        found = seed_summary(*_overlaps(list(trainings.values())), reference)
        row.update(low=found['low'], high=found['high'])
        if reference is not None:
            row.update(
                above_prior=found['difference'],
                above_prior_low=found['difference_low'],
                above_prior_high=found['difference_high'],
            )
        rows.append(row)
    return dict(
        batch_size=scorer.batch_size,
        num_clusters=scorer.num_clusters,
        large=LARGE,
        images={name: len(loaded.truth) for name, loaded in scorer.data.items()},
        rows=rows,
    )


def _overlaps(trainings: list[list[Entry]]) -> tuple[list[float], np.ndarray]:
    """Mean best overlap of large objects: of each training, and (S, B) in resamples of images."""
    scores, resampled = [], []
    for entries in trainings:
        large = [
            [[x for x, a in zip(*image[:2], strict=True) if a >= LARGE] for image in entry.images]
            for entry in entries
        ]
        sums = np.mean([[sum(image) for image in images] for images in large], 0)
        objects = np.array([len(image) for image in large[0]])
        counts = resample_patients(range(len(sums)), RESAMPLES)
        with np.errstate(invalid='ignore', divide='ignore'):
            scores.append(float(sums.sum() / objects.sum()))
            resampled.append(counts @ sums / (counts @ objects))
    return scores, np.stack(resampled)


def object_cells(table: dict[str, Any]) -> list[dict[str, str]]:
    """Cells of the last step of each network, data set by data set; see :func:`object_table`."""
    rows = sorted(table['rows'], key=lambda row: row['step'])
    order = list(dict.fromkeys((row['data'], row['network']) for row in table['rows']))
    last = {(row['data'], row['network']): row for row in rows}
    found = []
    for key in sorted(order, key=lambda key: list(table['images']).index(key[0])):
        row = last[key]
        cells = {'network': row['network'], 'step': str(row['step'] or ''), 'data': row['data']}
        for name, title in COLUMNS.items():
            own = row if name == 'best_overlap_large' else {name: row[name]}
            cells[title] = interval_text(own, name, scale=1 if name == 'regions' else 100)
        cells['minus prior masks'] = interval_text(row, 'above_prior', '+', 100)
        found.append(cells)
    return found


def object_note(table: dict[str, Any]) -> str:
    """What the numbers of :func:`object_cells` are."""
    trained = max((row['trainings'] for row in table['rows'] if row['checkpoint']), default=1)
    return (
        f'In percent: means over {plural(trained, "training")} and the clusterings of each, with '
        '95% intervals over images and trainings. '
        f'K: {table["num_clusters"] or "as in the config"}, in {table["batch_size"]} images. '
        + ', '.join(f'{name}: {images} images' for name, images in table['images'].items())
    )


def object_curves(table: dict[str, Any]) -> Figure:
    """Best overlap over training, a panel for each data set; what has one step is a line."""
    names = list(table['images'])
    figure = Figure(figsize=(4.5 * len(names), 3.4), dpi=120, layout='constrained')
    for axes, data in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        rows = [row for row in table['rows'] if row['data'] == data]
        for number, network in enumerate(dict.fromkeys(row['network'] for row in rows)):
            mine = sorted(
                (row for row in rows if row['network'] == network), key=lambda row: row['step']
            )
            mean, low, high = (
                100 * np.array([row[key] for row in mine])
                for key in ('best_overlap_large', 'low', 'high')
            )
            color = f'C{number}'
            if len(mine) == 1:
                axes.axhline(mean[0], color=color, linestyle='--', label=network)
                axes.axhspan(low[0], high[0], color=color, alpha=0.08)
            else:
                steps = [row['step'] for row in mine]
                axes.plot(steps, mean, color=color, marker='o', markersize=3, label=network)
                axes.fill_between(steps, low, high, color=color, alpha=0.12)
        axes.set(title=data, xlabel='training', ylabel='best overlap (IoU, %)')
        axes.legend(fontsize=7)
    return figure


def object_picture(scorer: Scorer, num: int = 6) -> Figure:
    """The images with the largest objects: truth, prior masks, objects of each network."""
    data, loaded = next(iter(scorer.data.items()))
    found = {
        entry.name: np.stack(entry.labels)
        for entry in scorer.entries
        if entry.data == data and entry.name != PRIOR and entry.labels is not None
    }
    large = [max((mask.mean() for mask in image.objects), default=0) for image in loaded.truth]
    order = sorted(np.argsort(large, kind='stable')[-num:])
    images = [
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        for image in loaded.x0[order].permute(0, 2, 3, 1).numpy()
    ]
    columns = [('truth', np.stack([_painted(loaded.truth[i].objects) for i in order]))]
    for name, labels in found.items():
        shown = labels[order]
        ids = rank_by_size(shown) if len(columns) == 1 else match_ids(shown, columns[1][1])
        columns.append((name, ids))
    return objects_panel(
        np.stack(images),
        None
        if loaded.regions is None
        else np.stack([loaded.regions[i].numpy().astype(np.int64) for i in order]),
        columns,
        f'Objects of {data}',
        'A color is one cluster in all images of a column.',
    )


def _painted(masks: np.ndarray) -> np.ndarray:
    """(N, H, W) masks as ids, small objects over large ones."""
    ids = np.zeros(masks.shape[1:], np.int64)
    for number in np.argsort([-m.sum() for m in masks], kind='stable'):
        ids[masks[number]] = number + 1
    return ids
