"""A dot and its interval a row, a panel a column; small dots are seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from orl_mm.visualization import save_figure


class Panel(NamedTuple):
    """A column of numbers.

    Attributes:
        title (str): Above.
        label (str): Below.
        found (list): Row by row a dict with ``low``, ``high``, ``seeds`` and ``key``.
        key (str): Where the mean is.
        line (float, optional): Drawn through all rows.
        limits (tuple, optional): Of the axis.
    """

    title: str
    label: str
    found: list[dict[str, Any]]
    key: str
    line: float | None = None
    limits: tuple | None = None


def draw(names: Sequence[str], colors: Sequence[str], panels: Sequence[Panel], path: Path) -> None:
    """Write a figure; ``colors`` and ``names`` are those of the rows, from above."""
    figure = Figure(
        figsize=(2.4 * len(panels) + 2.2, 0.36 * len(names) + 1.1), layout='constrained'
    )
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(every, panels, strict=False):
        for place, (found, color) in enumerate(zip(panel.found, colors, strict=False)):
            axes.plot([found['low'], found['high']], [place, place], color=color)
            axes.plot(found['seeds'], [place] * len(found['seeds']), '.', color=color, alpha=0.4)
            axes.plot(found[panel.key], place, 'o', color=color)
        if panel.line is not None:
            axes.axvline(panel.line, color='0.7', linewidth=1)
        axes.set(title=panel.title, xlabel=panel.label, xlim=panel.limits)
        axes.grid(axis='x', alpha=0.3)
    every[0].set(yticks=range(len(names)), yticklabels=names)
    every[0].invert_yaxis()
    save_figure(figure, path)
