"""Cells as Markdown. (pandas would need a further package for ``to_markdown``.)"""

from collections.abc import Iterable, Sequence
from typing import Any


def markdown_table(rows: Sequence[dict[str, Any] | Iterable[Any]]) -> str:
    """Format rows as Markdown, without a line feed at the end.

    Args:
        rows (sequence): Dicts of column -> cell with the same columns, or sequences of cells, of
            which the first is the header (for columns of one name).
    """
    if isinstance(rows[0], dict):
        rows = [list(rows[0]), *(row.values() for row in rows if isinstance(row, dict))]
    head, *body = ([*map(str, row)] for row in rows)
    return '\n'.join(f'| {" | ".join(row)} |' for row in [head, ['---'] * len(head), *body])


def interval_text(
    scores: dict[str, Any], key: str = 'mean', sign: str = '', scale: float = 1.0
) -> str:
    """``12.3 [11.0, 13.6]``, or ``12.3`` without an interval, or nothing without the score.

    The ends are ``KEY_low`` and ``KEY_high``, else ``low`` and ``high``. ``sign='+'`` shows signs.
    """
    if scores.get(key) is None:
        return ''
    low, high = (scores.get(f'{key}_{end}', scores.get(end)) for end in ('low', 'high'))
    text = f'{scale * scores[key]:{sign}.1f}'
    if low is None or high is None:
        return text
    return f'{text} [{scale * low:{sign}.1f}, {scale * high:{sign}.1f}]'
