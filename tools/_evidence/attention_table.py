"""The small table 3.1: attention against the true parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _tables import layout
from _tables.maps import score_maps, template_maps, truth

from . import attention, dots
from .chest_plan import DATASETS, ROWS, row_color
from .tables import span_text, stamp

GRID = (14, 14)
COLUMNS = [
    ('jsrt', 'heart'),
    ('jsrt', 'left_lung'),
    ('jsrt', 'right_lung'),
    ('jsrt', 'mean'),
    ('montgomery', 'left_lung'),
    ('montgomery', 'right_lung'),
]
TITLES = dict(
    jsrt='JSRT',
    montgomery='Montgomery',
    heart='heart',
    left_lung='left',
    right_lung='right',
    mean='mean',
)
HEAD = [f'{TITLES[name]} {TITLES[part]}' for name, part in COLUMNS]


def build(
    checkpoints: dict[str, list[Path]],
    data: Path,
    templates: dict[str, str],
    command: str,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """Table 3.1: every row against the row before it; templates themselves; the ceiling.

    Args:
        checkpoints (dict): Row -> a scored checkpoint for each seed.
        data (Path): Of the X-rays.
        templates (dict): Name -> file, or folder of templates of the scored images.
        command (str): That repeats it.
        seeds (sequence): Of the runs.
    """
    rows, before = [], None
    for key, files in checkpoints.items():
        found = [attention.score(file, data) for file in files]
        rows.append(
            dict(
                row=key,
                name=ROWS[key].name,
                **{
                    name: attention.summary(
                        [one[name] for one in found], before and [one[name] for one in before]
                    )
                    for name in DATASETS
                },
            )
        )
        before = found
    fixed = {f'template itself: {name}': template_maps([path]) for name, path in templates.items()}
    fixed['ceiling of the 14 x 14 grid'] = truth
    configs = attention.configs(data)
    maps = [
        dict(
            row=None,
            name=name,
            **{
                dataset: attention.summary([score_maps(cfg, maps_of, GRID)])
                for dataset, cfg in configs.items()
            },
        )
        for name, maps_of in fixed.items()
    ]
    return dict(table='3.1', rows=rows, maps=maps, **stamp(command, seeds))


def markdown(table: dict[str, Any]) -> str:
    """AP with the mean's interval, gain over the row before, coverage of the parts."""
    head, rows = (
        [
            'row',
            *HEAD[:4],
            'seeds',
            'above the row before',
            *HEAD[4:],
            'coverage JSRT',
            'Montgomery',
        ],
        [],
    )
    for row in [*table['rows'], *table['maps']]:
        cells = [row['name'] if row['row'] else f'*{row["name"]}*']
        for name, part in COLUMNS:
            found = row[name][part]
            cells.append(span_text(found, 'ap') if part == 'mean' else f'{found["ap"]:.1f}')
        mean = row['jsrt']['mean']
        cells[5:5] = [
            ', '.join(f'{value:.1f}' for value in mean['seeds']) if row['row'] else '',
            span_text(mean, 'difference', sign='+') if 'difference' in mean else '',
        ]
        cells += [f'{row[name]["mean"]["coverage"]:.2f}' for name in DATASETS]
        rows.append(cells)
    note = (
        'Small table 3.1: attention AP in percent, teacher, mean of the seeds; 95% intervals '
        'over patients and seeds (of one seed: over patients alone). Unguided rows take the '
        'best head of each part, chosen on the scored images. Coverage: the share of a part '
        'where attention exceeds its mean over the image. '
        f'{table["date"]}, {table["machine"]}. Command: {table["command"]}'
    )
    return '\n'.join([*layout.plain(head, rows), '', note, ''])


def draw(table: dict[str, Any], path: Path) -> None:
    """A panel for each column."""
    rows = [*table['rows'], *table['maps']]
    dots.draw(
        [row['name'] for row in rows],
        [row_color(row['row']) for row in rows],
        [
            dots.Panel(title, 'AP (%)', [row[name][part] for row in rows], 'ap', limits=(0, 100))
            for (name, part), title in zip(COLUMNS, HEAD, strict=False)
        ],
        path,
    )
