"""Scores with intervals as a forest plot: a panel for each column of a table."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

GREY, BLUE = '#6e6e6e', '#0072b2'


class Panel(NamedTuple):
    """A column of a table.

    Attributes:
        title (str): Above the panel.
        scores (sequence): For each row a dict with ``mean``, ``low`` and ``high``, optionally
            ``seeds`` (further, smaller dots) and ``marked`` (drawn as an open diamond), or None.
        label (str): Of the axis.
        thesis (sequence, optional): The thesis's number for each row, or None: an open circle.
            Where it has no measured score beside it, "not yet run" is written.
        line (float, optional): A vertical line, such as the score of chance.
        limits (tuple, optional): Of the axis.
    """

    title: str
    scores: Sequence[dict[str, Any] | None]
    label: str = '%'
    thesis: Sequence[float | None] | None = None
    line: float | None = None
    limits: tuple[float, float] | None = None


def forest_plot(
    names: Sequence[str],
    panels: Sequence[Panel],
    title: str = '',
    colors: Sequence[str] | None = None,
) -> Figure:
    """Draw a row for each name, the first one at the top.

    Args:
        names (sequence): Of the rows.
        panels (sequence): From left to right; at least one.
        title (str): Above all.
        colors (sequence, optional): Of the rows.
    """
    colors = colors or [BLUE] * len(names)
    width = 0.085 * max(map(len, names)) + (3.4 if len(panels) < 3 else 2.3) * len(panels)
    size = (width, 1.3 + 0.33 * len(names))
    figure = Figure(figsize=size, dpi=120, layout='constrained')
    figure.suptitle(title, fontsize=11)
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    every[0].set(yticks=range(len(names)), ylim=(len(names) - 0.5, -0.5))
    every[0].set_yticklabels(names, fontsize=8)
    for axes, panel in zip(every, panels, strict=True):
        _draw(axes, panel, colors)
    if any(panel.thesis for panel in panels):
        dots = dict(linestyle='none', marker='o')
        handles = [
            every[0].plot([], [], markeredgecolor=GREY, markerfacecolor='none', **dots)[0],
            every[0].plot([], [], color=BLUE, **dots)[0],
            every[0].plot([], [], color=BLUE, markerfacecolor='white', ls='none', marker='D')[0],
        ]
        figure.legend(
            handles,
            ['thesis', 'measured', 'measured, with a mark'],
            loc='outside lower center',
            ncols=3,
            frameon=False,
            fontsize=8,
        )
    return figure


def _draw(axes: Axes, panel: Panel, colors: Sequence[str]) -> None:
    for y, (score, color) in enumerate(zip(panel.scores, colors, strict=True)):
        thesis = panel.thesis[y] if panel.thesis else None
        if thesis is not None:
            axes.plot(thesis, y, 'o', markersize=8, markeredgecolor=GREY, markerfacecolor='none')
        if score is None:
            if thesis is not None:
                place: dict[str, Any] = dict(
                    transform=axes.get_yaxis_transform(), ha='right', va='center'
                )
                axes.text(1.0, y, 'not yet run', fontsize=6, color=GREY, **place)
            continue
        axes.plot([score['low'], score['high']], [y, y], color=color)
        seeds = score.get('seeds', ())
        axes.plot(seeds, [y] * len(seeds), '.', color=color, alpha=0.4)
        marker, fill = ('D', 'white') if score.get('marked') else ('o', color)
        axes.plot(score['mean'], y, marker, markersize=5, color=color, markerfacecolor=fill)
    if panel.line is not None:
        axes.axvline(panel.line, color='0.7', linewidth=1)
    axes.set_title(panel.title, fontsize=9)
    axes.set_xlabel(panel.label, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    if panel.limits:
        axes.set_xlim(*panel.limits)
    elif panel.thesis:
        low, high = axes.get_xlim()
        axes.set_xlim(low, high + 0.28 * (high - low))  # space for "not yet run"
