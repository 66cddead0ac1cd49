"""Tables 2.1, 2.2 and 2.3: transfer to COCO, VOC and Cityscapes."""

from pathlib import Path
from typing import Any

from orl_mm.engine.cli import UserError

from .layout import NOT_RUN, markdown
from .plot import Panel, Span
from .recorded import MARKS, Result, count, result_of
from .thesis import COLUMNS, COLUMNS_OF, NATURAL, OTHERS, TABLES
from .transfer import NoTransfer, TransferRun, find_transfer

TITLES = {
    '2.1': 'COCO, Mask R-CNN R50-FPN, 1x',
    '2.2': 'FCN, mIoU',
    '2.3': 'K on ImageNet100, VOC mIoU',
}
NOTE = (
    'In percent; here: last checkpoint of each run, of several runs their mean (least to '
    'largest). Epochs: of pretraining, as the thesis has them.'
)


def build(
    table: str,
    runs: list[str],
    named: list[tuple[str, str]],
    options: dict | None = None,
    test: bool | None = None,
    again: bool = False,
) -> dict[str, Any]:
    """Collect finished runs and put them beside the thesis.

    Args:
        table (str): ``'2.1'``, ``'2.2'`` or ``'2.3'``.
        runs (list): Work directories; those that belong elsewhere are left out, which is said.
        named (list): Row and work directory of further ones.
        options, test, again: See :func:`.recorded.result_of`.

    Returns:
        dict: ``rows``: ``row``, ``name``, ``epochs``, ``thesis`` (column -> number), ``marks``,
        ``recipe`` and ``here`` (column -> ``mean``, ``low``, ``high``, ``values``) and ``runs``;
        ``columns``; ``left_out``.

    Raises:
        UserError: No such folder, one given twice, or a row that is not obvious.
    """
    found, left_out = _collect(table, runs, named)
    results = [result_of(run, options, test, again) for run in found]
    names = {row.key: row for row in NATURAL[table]}
    keys = [*names, *sorted({result.run.row for result in results} - names.keys())]
    columns = [column for name in TABLES[table] for column in COLUMNS_OF[name]]
    rows = []
    for key in keys:
        groups: dict[tuple[str, str], list[Result]] = {}
        if key in names:
            groups['', ''] = []  # the thesis's row is there also where nothing ran
        for result in results:
            if result.run.row == key:
                groups.setdefault((result.recipe, _marks(result)), []).append(result)
        for (recipe, marks), members in groups.items():
            main = key in names and not (recipe or marks)
            rows.append(
                dict(
                    row=key,
                    name=names[key].name if key in names else OTHERS.get(key, key),
                    epochs=names[key].epochs if main else None,
                    thesis=names[key].numbers if main else {},
                    recipe=recipe,
                    marks=marks,
                    here={
                        column: _summary(column, members)
                        for column in columns
                        if any(_value(result, column) is not None for result in members)
                    },
                    runs=[_run(result) for result in members],
                )
            )
    return dict(
        table=table,
        title=TITLES[table],
        note=NOTE,
        rows=rows,
        columns={column: COLUMNS[column] for column in columns},
        left_out=left_out,
    )


def _collect(
    table: str, runs: list[str], named: list[tuple[str, str]]
) -> tuple[list[TransferRun], dict[str, list[str]]]:
    """Those of the table's data sets and rows; the others by the reason they are left out for."""
    found, left_out = {}, {}
    for path, row in [*((path, None) for path in runs), *((path, row) for row, path in named)]:
        folder = Path(path).expanduser().resolve()
        if folder in found:
            raise UserError(f'{path} is given twice')
        try:
            run = find_transfer(path, row)
            if run.dataset not in TABLES[table]:
                raise NoTransfer(f'transfer to {run.dataset}, no matter of table {table}')
            small = run.row in {item.key for item in NATURAL['2.3']}
            if row is None and small != (table == '2.3'):
                raise NoTransfer(f'rows of table {"2.3" if small else "2.2"}')
        except NoTransfer as reason:
            if row is not None:
                raise UserError(f'{path}: {reason}') from None
            left_out.setdefault(str(reason), []).append(path)
            continue
        found[folder] = run
    return list(found.values()), left_out


def _marks(result: Result) -> str:
    return ''.join(mark for mark in MARKS if mark in dict(result.doubts))


def _value(result: Result, column: str) -> float | None:
    return None if result.record is None else result.record.values.get(column)


def _summary(column: str, members: list[Result]) -> dict[str, Any]:
    values = [
        value for value in (_value(result, column) for result in members) if value is not None
    ]
    return dict(
        mean=round(sum(values) / len(values), 4), low=min(values), high=max(values), values=values
    )


def _run(result: Result) -> dict[str, Any]:
    run, record = result.run, result.record
    return dict(
        work_dir=str(run.work_dir),
        data_set=run.dataset,
        checkpoint=run.checkpoint.name,
        pretrained=run.start,
        values=record and record.values,
        source=record and record.source,
        images=record and record.images and list(record.images),
        doubts=[dict(mark=mark, reason=reason) for mark, reason in result.doubts],
        aside=result.aside,
    )


def to_markdown(table: dict[str, Any]) -> str:
    """The thesis's layout; runs that are not the thesis's have lines of their own below."""
    digits = 2 if table['table'] == '2.3' else 1  # as printed there
    header = ['Row', 'Epochs']
    for title in table['columns'].values():
        header += [f'{title}: thesis', 'here']
    lines = []
    for row in table['rows']:
        cells = [label(row), str(row['epochs'] or '')]
        for column in table['columns']:
            number = row['thesis'].get(column)
            missing = '-' if row['thesis'] else ''
            cells += [
                missing if number is None else f'{number:.{digits}f}',
                cell(row, column, digits),
            ]
        lines.append(cells)
    text = markdown(f'Table {table["table"]}: {table["title"]}', header, lines, table['note'])
    return '\n'.join([text, *_legend(table), *_sources(table), *_left_out(table)])


def label(row: dict[str, Any]) -> str:
    """Name of a row, with its recipe and marks."""
    return ', '.join(filter(None, (row['name'], row['recipe']))) + (
        f' {row["marks"]}' if row['marks'] else ''
    )


def cell(row: dict[str, Any], column: str, digits: int) -> str:
    """What ran here."""
    here = row['here'].get(column)
    if here is None:
        if any(
            run['values'] is None and column in COLUMNS_OF[run['data_set']] for run in row['runs']
        ):
            return 'nothing recorded'
        return NOT_RUN if row['thesis'] else ''
    text = f'{here["mean"]:.{digits}f}'
    if len(here['values']) > 1:
        text += (
            f' ({here["low"]:.{digits}f} to {here["high"]:.{digits}f}, {len(here["values"])} runs)'
        )
    return text + (f' {row["marks"]}' if row['marks'] else '')


def panels(table: dict[str, Any]) -> tuple[list[str], list[Panel]]:
    """For a picture: names of the rows, and a panel for each column."""
    rows = table['rows']
    return [label(row) for row in rows], [
        Panel(
            title,
            [row['thesis'].get(column) for row in rows],
            [_span(row['here'].get(column)) for row in rows],
            [bool(row['thesis']) for row in rows],
            [bool(row['marks']) for row in rows],
        )
        for column, title in table['columns'].items()
    ]


def _span(here: dict[str, Any] | None) -> Span | None:
    return None if here is None else (here['mean'], here['low'], here['high'])


def _legend(table: dict[str, Any]) -> list[str]:
    used = ''.join(row['marks'] for row in table['rows'])
    lines = [f'{mark} {reason}.' for mark, reason in MARKS.items() if mark in used]
    return [' '.join(lines), ''] if lines else []


def _sources(table: dict[str, Any]) -> list[str]:
    lines = []
    for row in table['rows']:
        for run in row['runs']:
            values = ' / '.join(f'{value:.2f}' for value in (run['values'] or {}).values())
            images = f', {count(tuple(run["images"]))} images' if run['images'] else ''
            source = (run['source'] or 'add --test').replace(f'{run["work_dir"]}/', '')
            lines.append(
                f'- {label(row)}: {values or "nothing recorded"}: {run["work_dir"]}, '
                f'{run["checkpoint"]}, {source}{images}'
            )
            lines += [f'  - {doubt["mark"]} {shorten(doubt["reason"])}' for doubt in run['doubts']]
            lines += [f'  - not taken: {reason}' for reason in run['aside']]
    return [*lines, ''] if lines else []


def shorten(text: str, most: int = 6) -> str:
    """The first of many differences; the JSON file has all."""
    parts = text.split('; ')
    return (
        text if len(parts) <= most else '; '.join([*parts[:most], f'and {len(parts) - most} more'])
    )


def _left_out(table: dict[str, Any]) -> list[str]:
    lines = [
        f'- left out, {reason}: {", ".join(paths)}' for reason, paths in table['left_out'].items()
    ]
    return [*lines, ''] if lines else []
