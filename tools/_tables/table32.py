"""Table 3.2: mean AUROC of linear probes."""

from typing import Any

from mmengine.config import Config

from orl_mm.engine.cli import UserError

from .evaluate import evaluate
from .layout import NOT_RUN, markdown, score, thesis_number
from .plot import Panel, span
from .runs import Run
from .thesis import TABLE_3_2, rows_of

NOTE = (
    'Mean AUROC in percent [95% interval over patients] of one linear layer on frozen '
    'features; columns: test set and share of the training labels. The thesis has all of '
    'CheXpert.'
)
MAIN = ('chexpert', 1.0)


def build(runs: list[Run], options: dict[str, Any], again: bool = False) -> dict[str, Any]:
    """Test each probe by the config of its own training.

    Args:
        runs (list): Work directories of ``LinearProbe``.
        options (dict): Further options of their configs.
        again (bool): See :func:`.evaluate.evaluate`.

    Returns:
        dict: ``rows``: for each regimen ``row``, ``name``, ``thesis`` and ``here``, column ->
        numbers; ``columns``.

    Raises:
        UserError: No probe, or two of one row and column.
    """
    found: dict[str, dict[tuple[str, float], dict]] = {}
    for run in runs:
        column, cfg = _column(run), run.config.copy()
        cfg.work_dir = f'work_dirs/tables/{column[0]}'
        cfg.merge_from_dict(options)
        if column in found.setdefault(run.row, {}):
            raise UserError(
                f'two probes are for the row {run.row!r} on {_title(column)}: leave '
                'one out, or name it anew with --row NAME=PATH'
            )
        result = evaluate(cfg, run.checkpoint, column[0], again)
        found[run.row][column] = dict(result['metrics'], checkpoint=str(run.checkpoint))
    columns = sorted(
        {MAIN, *(column for row in found.values() for column in row)},
        key=lambda c: (c[0] != MAIN[0], c[0], -c[1]),
    )
    names = dict(rows_of('3.2'))
    names.update({row: row for row in found if row not in names})
    return dict(
        table='3.2',
        note=NOTE,
        columns=[_title(column) for column in columns],
        rows=[
            dict(
                row=key,
                name=name,
                thesis=TABLE_3_2.get(key),
                here={_title(column): metrics for column, metrics in found.get(key, {}).items()},
            )
            for key, name in names.items()
        ],
    )


def to_markdown(table: dict[str, Any]) -> str:
    """The thesis's layout, with a column for each test set and share of labels."""
    rows = [
        [
            row['name'],
            thesis_number(row['thesis']),
            *(
                score(row['here'].get(column, {}), 'mean', missing=NOT_RUN)
                for column in table['columns']
            ),
        ]
        for row in table['rows']
    ]
    return markdown(
        'Table 3.2: linear probes', ['Regimen', 'Thesis', *table['columns']], rows, table['note']
    )


def panels(table: dict[str, Any]) -> tuple[list[str], list[Panel]]:
    """For a picture: names of the rows, and a panel for each column."""
    rows = table['rows']
    return [row['name'] for row in rows], [
        Panel(
            column,
            [row['thesis'] if column == _title(MAIN) else None for row in rows],
            [span(row['here'].get(column, {}), 'mean') for row in rows],
            [column not in row['here'] for row in rows],
            [False] * len(rows),
        )
        for column in table['columns']
    ]


def _column(run: Run) -> tuple[str, float]:
    """Test set and share of the labels."""
    cfg = run.config
    if cfg is None or cfg.get('model', {}).get('type') != 'orl_mm.LinearProbe':
        raise UserError(
            f'{run.checkpoint} is no work directory of a linear probe: train one with '
            'tools/train.py configs/transfer/chexpert/linear_vits16.py'
        )
    name = cfg.test_evaluator.get('prefix') or 'auroc'
    return name, _fraction(cfg)


def _fraction(cfg: Config) -> float:
    return float(cfg.train_dataloader.dataset.get('fraction', 1.0))


def _title(column: tuple[str, float]) -> str:
    name, fraction = column
    return f'{dict(chexpert="CheXpert", tb="Tuberculosis").get(name, name)}, {fraction:.0%}'
