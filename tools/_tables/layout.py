"""Cells and tables as text."""

from typing import Any

NOT_RUN = 'not yet run'
NOT_GIVEN = 'not given'
NO_DATA = 'no data'


def score(metrics: dict[str, Any], key: str, missing: str = '', interval: bool = True) -> str:
    """A number in percent with its interval; ``missing`` where there is no result at all."""
    if not metrics:
        return missing
    value = metrics.get(key)
    if value is None:
        return ''
    text = f'{100 * value:.1f}'
    low, high = metrics.get(f'{key}_low'), metrics.get(f'{key}_high')
    if interval and low is not None and high is not None:
        text += f' [{100 * low:.1f}, {100 * high:.1f}]'
    return text


def thesis_number(value: float | None) -> str:
    """As printed there."""
    return '' if value is None else f'{value:.1f}'


def plain(header: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a Markdown table, its columns not in line."""
    head, *body = ('| ' + ' | '.join(cells) + ' |' for cells in (header, *rows))
    return [head, '|' + '---|' * len(header), *body]


def markdown(title: str, header: list[str], rows: list[list[str]], note: str) -> str:
    """A table with its columns in line, and a note below."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        return (
            '| '
            + ' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
            + ' |'
        )

    rule = '|' + '|'.join('-' * (width + 2) for width in widths) + '|'
    return '\n'.join([f'**{title}**', '', line(header), rule, *map(line, rows), '', note, ''])
