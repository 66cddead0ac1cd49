"""The small tables 2.2 and 2.3 from what the jobs have left."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _tables import layout

from . import dots
from .base_plan import here
from .fit import RANK
from .plan import ROWS, TRANSFERS
from .segmentation import Areas, resampled_objects, summary

REFERENCE = 'byol'


def read_areas(path: Path) -> Areas:
    """What :func:`write_areas` has written."""
    with np.load(path, allow_pickle=False) as file:
        return Areas(file['intersect'], file['union'])


def write_areas(path: Path, areas: Areas, miou: float) -> None:
    """Counts of a test, and mmseg's own mIoU."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, intersect=areas.intersect, union=areas.union, miou=miou)


def build(
    table: str, scores: dict[str, dict[str, list[Path]]], command: str, seeds: list[int]
) -> dict[str, Any]:
    """Numbers of a table.

    Args:
        table (str): ``'2.2'`` or ``'2.3'``.
        scores (dict): Row -> transfer -> a file of areas for each seed.
        command (str): That repeats it.
        seeds (list[int]): Of the runs.
    """
    rows = []
    for key in scores:
        row = dict(row=key, name=ROWS[key].name)
        for kind, files in scores[key].items():
            reference = scores.get(REFERENCE, {}).get(kind) if key != REFERENCE else None
            mine = [read_areas(file) for file in files]
            other = reference and [read_areas(file) for file in reference]
            row[kind] = summary(mine, other)
            if kind == 'linear':  # the fit leaves it beside the layer
                row['effective_rank'] = [
                    float(file.with_name(RANK).read_text(encoding='utf-8')) for file in files
                ]
            row[f'{kind}, objects'] = summary(mine, other, resampled_objects)
        rows.append(row)
    images = len(read_areas(next(iter(next(iter(scores.values())).values()))[0]).union)
    return dict(table=table, rows=rows, images=images, **stamp(command, seeds))


def stamp(command: str, seeds: Sequence[int]) -> dict[str, Any]:
    """What a result says of itself: command, seeds, machine and date."""
    return dict(command=command, seeds=list(seeds), **here())


def span_text(found: dict[str, Any], key: str, sign: str = '') -> str:
    """``12.3 [11.0, 13.6]``; the ends of ``difference`` have names of their own."""
    low, high = ('low', 'high') if f'{key}_low' not in found else (f'{key}_low', f'{key}_high')
    return f'{found[key]:{sign}.1f} [{found[low]:{sign}.1f}, {found[high]:{sign}.1f}]'


def markdown(table: dict[str, Any]) -> str:
    """mIoU of each transfer, with intervals, beside the difference from BYOL."""
    head, kinds = ['network'], _kinds(table)
    for kind in kinds:
        head += [f'VOC mIoU, {kind}', 'seeds', 'above BYOL', 'IoU of objects', 'above BYOL']
    if 'linear' in kinds:
        head.append('effective rank')
    rows = []
    for row in table['rows']:
        cells = [row['name']]
        for kind in kinds:
            found, objects = row[kind], row[f'{kind}, objects']
            cells += [
                span_text(found, 'mean'),
                ', '.join(f'{value:.1f}' for value in found['seeds']),
                span_text(found, 'difference', sign='+') if 'difference' in found else '',
                span_text(objects, 'mean'),
                span_text(objects, 'difference', sign='+') if 'difference' in found else '',
            ]
        if 'linear' in kinds:
            cells.append(f'{np.mean(row["effective_rank"]):.1f}')
        rows.append(cells)
    note = (
        f'Small table {table["table"]}: percent, mean of {len(table["seeds"])} seeds, 95% '
        f'intervals over the {table["images"]} test images and the seeds (of one seed: over '
        'images alone; drawn together for differences). IoU of objects: any class against the '
        'background, of the same predictions. Effective rank: of the centred C5 of the '
        'training images, 128 channels, mean of the seeds. '
        f'{table["date"]}, {table["machine"]}. Command: {table["command"]}'
    )
    return '\n'.join([*layout.plain(head, rows), '', note, ''])


def draw(table: dict[str, Any], path: Path) -> None:
    """A panel for each transfer and score; R2O has a colour of its own."""
    rows = table['rows']
    colors = [
        'C1' if row['row'].startswith(('r2o', 'official', 'k', 'no-')) else 'C0' for row in rows
    ]
    dots.draw(
        [row['name'] for row in rows],
        colors,
        [
            dots.Panel(
                kind + more,
                'IoU (%)' if more else 'VOC mIoU (%)',
                [row[kind + more] for row in rows],
                'mean',
            )
            for kind in _kinds(table)
            for more in ('', ', objects')
        ],
        path,
    )


def _kinds(table: dict[str, Any]) -> list[str]:
    """The transfers that were run, of all rows alike."""
    return [kind for kind in TRANSFERS if kind in table['rows'][0]]


def write(
    table: dict[str, Any],
    folder: Path,
    text: Callable[[dict], str] = markdown,
    figure: Callable[[dict, Path], None] = draw,
) -> str:
    """Markdown, JSON and the figure; returns the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    name = table['table'].replace('.', '')
    stem = f'table{name}_small' if name.isdigit() else f'{name}_small'
    found = text(table)
    (folder / f'{stem}.md').write_text(found, encoding='utf-8')
    (folder / f'{stem}.json').write_text(json.dumps(table, indent=1) + '\n', encoding='utf-8')
    figure(table, folder / f'{stem}.png')
    return found
