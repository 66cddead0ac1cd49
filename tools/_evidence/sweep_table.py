"""How strongly to guide: AP and coverage by the strength of the two terms."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _tables import layout
from matplotlib.figure import Figure

from orl_mm.visualization import save_figure

from . import attention
from .chest_plan import DATASETS, ChestRow
from .tables import span_text, stamp


def build(
    rows: Sequence[ChestRow],
    checkpoints: list[Path],
    unguided: Path,
    data: Path,
    command: str,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """AP and coverage by the strength of the two terms.

    Args:
        rows (sequence): With ``numbers``.
        checkpoints (list): One for each of them.
        unguided (Path): Of the same training without guidance.
        data (Path): Of the X-rays.
        command (str): That repeats it.
        seeds (sequence): Of the runs.
    """
    found = []
    for numbers, file in [
        (dict(strength=0.0, spread=0.0), unguided),
        *((row.numbers, file) for row, file in zip(rows, checkpoints, strict=False)),
    ]:
        scored = attention.score(file, data)
        found.append(
            dict(numbers, **{name: attention.summary([scored[name]]) for name in DATASETS})
        )
    return dict(table='lambda', rows=found, **stamp(command, seeds))


def markdown(table: dict[str, Any]) -> str:
    """Strength by strength."""
    head = [
        'lambda1 = lambda2',
        'spread',
        'JSRT mean AP',
        'Montgomery mean AP',
        'coverage JSRT',
        'coverage Montgomery',
    ]
    rows = [
        [
            f'{row["strength"]:g}',
            f'{row["spread"]:g}',
            *(span_text(row[name]['mean'], 'ap') for name in DATASETS),
            *(f'{row[name]["mean"]["coverage"]:.2f}' for name in DATASETS),
        ]
        for row in table['rows']
    ]
    note = (
        'Sweep of the strengths, deformable templates, one seed; without guidance the best '
        'heads. 95% intervals over patients; the spread between trainings is not in them. '
        f'{table["date"]}, {table["machine"]}. Command: {table["command"]}'
    )
    return '\n'.join([*layout.plain(head, rows), '', note, ''])


def draw(table: dict[str, Any], path: Path) -> None:
    """AP and coverage on JSRT over the strength, with and without spread."""
    figure = Figure(figsize=(8, 3), layout='constrained')
    for axes, key, title in zip(
        figure.subplots(1, 2),
        ('ap', 'coverage'),
        ('JSRT mean AP (%)', 'coverage of the parts'),
        strict=False,
    ):
        for number, spread in enumerate(
            sorted({row['spread'] for row in table['rows'] if row['strength']}, reverse=True)
        ):
            rows = sorted(
                (row for row in table['rows'] if row['strength'] and row['spread'] == spread),
                key=lambda row: row['strength'],
            )
            axes.plot(
                [row['strength'] for row in rows],
                [row['jsrt']['mean'][key] for row in rows],
                'o-',
                color=f'C{number}',
                label=f'spread {spread:g}',
            )
        for row in table['rows']:
            if not row['strength']:
                axes.axhline(
                    row['jsrt']['mean'][key],
                    color='0.5',
                    linestyle='--',
                    label='no guidance, best heads',
                )
        axes.set(xscale='log', xlabel='lambda1 = lambda2', title=title)
        axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)
