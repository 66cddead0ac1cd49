"""Cells as a Markdown table. (pandas would need a further package for ``to_markdown``.)"""

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
