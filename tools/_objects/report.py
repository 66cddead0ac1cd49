"""Scores of objects as a table, as JSON, as curves over training, and as a picture."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _tables import layout
from matplotlib.figure import Figure

from orl_mm.evaluation.bootstrap import (
    mean_of_resampled_seeds,
    percentile_interval,
    resample_patients,
)
from orl_mm.evaluation.object_agreement import ObjectAgreement, summarise
from orl_mm.visualization import match_ids, objects_panel, rank_by_size, save_figure

from .score import Entry, Scorer

PRIOR = 'prior masks'
LARGE = 0.02  # share of the image
COLUMNS = (
    ('best_overlap_large', f'best overlap, objects above {LARGE:.0%}'),
    ('best_overlap', 'best overlap, all'),
    ('ari', 'ARI'),
    ('foreground_ari', 'ARI of objects'),
    ('regions', 'regions'),
)


def table(scorer: Scorer) -> list[dict[str, Any]]:
    """A row a network, step and data set: means over trainings, and over clusterings of each."""
    groups: dict[tuple, list[Entry]] = {}
    for entry in scorer.entries:
        groups.setdefault((entry.name, entry.step, entry.data), []).append(entry)
    priors = {data: entries for (name, _, data), entries in groups.items() if name == PRIOR}
    rows = []
    for (name, step, data), entries in groups.items():
        numbers = [summarise(entry.images, LARGE) for entry in entries]
        trainings = _by_training(entries)
        row = dict(
            network=name,
            step=step,
            data=data,
            trainings=len(trainings),
            clusterings=len(entries),
            checkpoint=entries[0].checkpoint,
            **{key: float(np.mean([n[key] for n in numbers])) for key in numbers[0]},
        )
        mine = [_overlaps(each) for each in trainings]
        row['low'], row['high'] = _interval(mine)
        if data in priors and name != PRIOR:
            base = _overlaps(priors[data])
            row['above_prior'] = float(
                np.mean([one[0].sum() / one[1].sum() for one in mine])
                - base[0].sum() / base[1].sum()
            )
            row['above_prior_low'], row['above_prior_high'] = _interval(mine, base)
        rows.append(row)
    return rows


def _by_training(entries: list[Entry]) -> list[list[Entry]]:
    """Clusterings of one checkpoint belong together; random weights are others with each seed."""
    groups: dict[Any, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.checkpoint or entry.seed, []).append(entry)
    return list(groups.values())


def _overlaps(entries: list[Entry]) -> np.ndarray:
    """(2, images): sum of the overlaps of large objects, and how many there are."""

    def of(image: ObjectAgreement) -> list[float]:
        return [x for x, a in zip(image.best_overlap, image.area, strict=False) if a >= LARGE]

    sums = np.mean([[sum(of(image)) for image in entry.images] for entry in entries], 0)
    return np.stack([sums, [len(of(image)) for image in entries[0].images]])


def _interval(mine: list[np.ndarray], base: np.ndarray = None):
    """Over images and trainings."""
    counts = resample_patients(range(mine[0].shape[1]), 2000)

    def means(x: np.ndarray) -> np.ndarray:
        with np.errstate(invalid='ignore', divide='ignore'):
            return counts @ x[0] / (counts @ x[1])

    less = 0.0 if base is None else means(base)
    return percentile_interval(mean_of_resampled_seeds([means(one) - less for one in mine]))


def markdown(scorer: Scorer) -> str:
    """The last step of each network."""
    rows = table(scorer)
    last = {(row['network'], row['data']): row for row in sorted(rows, key=lambda r: r['step'])}
    head = ['network', 'step', 'data', *(text for _, text in COLUMNS), 'above the prior masks']
    lines = []
    for data in scorer.data:
        for (name, of), row in last.items():
            if of != data:
                continue
            cells = [name, str(row['step'] or ''), data]
            for key, _ in COLUMNS:
                value = f'{row[key]:.1f}' if key == 'regions' else f'{100 * row[key]:.1f}'
                if key == 'best_overlap_large':
                    value += f' [{100 * row["low"]:.1f}, {100 * row["high"]:.1f}]'
                cells.append(value)
            cells.append(
                ''
                if 'above_prior' not in row
                else '{:+.1f} [{:+.1f}, {:+.1f}]'.format(
                    *(100 * row[f'above_prior{end}'] for end in ('', '_low', '_high'))
                )
            )
            lines.append(cells)
    clusters = scorer.num_clusters or 'as in the config'
    trained = max((row['trainings'] for row in rows if row['checkpoint']), default=1)
    note = (
        f'In percent; means over {trained} training{"s" * (trained > 1)} and clusterings of '
        'each, 95% intervals over images and trainings. K: '
        f'{clusters}, in {scorer.batch_size} images. '
        + ', '.join(f'{name}: {len(loaded.truth)} images' for name, loaded in scorer.data.items())
    )
    return '\n'.join([*layout.plain(head, lines), '', note])


def write_json(scorer: Scorer, path: str, num: int = 0) -> None:
    """All rows, every step."""
    content = dict(
        batch_size=scorer.batch_size,
        num_clusters=scorer.num_clusters,
        large=LARGE,
        rows=table(scorer),
    )
    Path(path).write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')


def figure(scorer: Scorer, path: str, num: int = 0) -> None:
    """Best overlap over training, a panel a data set; lines of one step run across."""
    rows = table(scorer)
    drawing = Figure(figsize=(4.5 * len(scorer.data), 3.4), layout='constrained')
    for axes, data in zip(
        np.atleast_1d(drawing.subplots(1, len(scorer.data))), scorer.data, strict=False
    ):
        names = dict.fromkeys(row['network'] for row in rows if row['data'] == data)
        for color, name in enumerate(names):
            mine = sorted(
                (r for r in rows if r['network'] == name and r['data'] == data),
                key=lambda r: r['step'],
            )
            steps = [r['step'] for r in mine]
            values, low, high = (
                100 * np.array([r[key] for r in mine])
                for key in ('best_overlap_large', 'low', 'high')
            )
            if len(mine) == 1:
                axes.axhline(values[0], color=f'C{color}', linestyle='--', label=name)
                axes.axhspan(low[0], high[0], color=f'C{color}', alpha=0.08)
            else:
                axes.plot(steps, values, color=f'C{color}', marker='o', markersize=3, label=name)
                axes.fill_between(steps, low, high, color=f'C{color}', alpha=0.12)
        axes.set(title=data, xlabel='training', ylabel='best overlap (IoU, %)')
        axes.legend(fontsize=7)
    save_figure(drawing, path)


def picture(scorer: Scorer, path: str, num: int = 6) -> None:
    """Images, prior masks, and what each network finds at its last step."""
    data, loaded = next(iter(scorer.data.items()))
    shown = {}
    for entry in scorer.entries:
        if entry.data == data and entry.name != PRIOR and entry.labels is not None:
            shown[entry.name] = np.stack(entry.labels)
    large = [max((mask.mean() for mask in image.objects), default=0) for image in loaded.truth]
    order = sorted(np.argsort(large, kind='stable')[-num:])
    images = loaded.x0[order].permute(0, 2, 3, 1).numpy()
    images = np.stack([cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in images])
    priors = (
        None
        if loaded.regions is None
        else np.stack([loaded.regions[i].numpy().astype(np.int64) for i in order])
    )
    truth = np.stack([_painted(loaded.truth[i].objects) for i in order])
    columns, first = [('truth', truth)], None
    for name, labels in shown.items():
        ids = rank_by_size(labels[order]) if first is None else match_ids(labels[order], first)
        first = ids if first is None else first
        columns.append((name, ids))
    save_figure(
        objects_panel(
            images,
            priors,
            columns,
            f'Objects of {data}',
            'One colour is one cluster in all images of a column.',
        ),
        path,
    )


def _painted(masks: np.ndarray) -> np.ndarray:
    ids = np.zeros(masks.shape[1:], np.int64)
    for number in np.argsort([-m.sum() for m in masks], kind='stable'):
        ids[masks[number]] = number + 1
    return ids
