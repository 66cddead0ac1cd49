"""A pandas table as Markdown (``DataFrame.to_markdown`` would need a further package)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def markdown_table(frame: pd.DataFrame) -> str:
    """The cells of a table as they are, without its index.

    Args:
        frame (DataFrame): Of text; column names may repeat.
    """
    rows = [list(frame.columns), ['---'] * frame.shape[1], *frame.to_numpy().tolist()]
    return ''.join(f'| {" | ".join(map(str, row))} |\n' for row in rows)
