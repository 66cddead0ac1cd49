"""A table as a picture: a panel for each column, a line for each row, thesis and here as dots."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from orl_mm.engine.cli import UserError

# Mean (or the one number), least and largest, in percent.
Span = tuple[float, float, float]
FORMATS = ('.png', '.svg', '.pdf')
_GREY, _BLUE = '#6e6e6e', '#0072b2'
_STYLES = {
    'thesis': dict(
        linestyle='none',
        marker='o',
        markersize=8,
        markeredgecolor=_GREY,
        markerfacecolor='none',
        markeredgewidth=1.2,
    ),
    'here': dict(linestyle='none', marker='o', markersize=5, color=_BLUE),
    'here, with a mark': dict(
        linestyle='none', marker='D', markersize=5, markeredgecolor=_BLUE, markerfacecolor='white'
    ),
}


class Panel(NamedTuple):
    """A column of a table.

    Attributes:
        title (str): Above it.
        thesis (list): A number or None for each row.
        here (list): A :data:`Span` or None for each row.
        wanted (list): Whether a number here is missing where there is none.
        marked (list): Whether a number here has a mark.
    """

    title: str
    thesis: list[float | None]
    here: list[Span | None]
    wanted: list[bool]
    marked: list[bool]


def span(metrics: dict[str, float], key: str) -> Span | None:
    """A score of a test, in [0, 1], with its interval where it has one."""
    if metrics.get(key) is None:
        return None
    value = metrics[key]
    ends = (metrics.get(f'{key}_{end}') for end in ('low', 'high'))
    return tuple(100 * (value if x is None else x) for x in (value, *ends))


def check_suffix(path: Path) -> None:
    """Raise UserError before the work if the picture cannot be written."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f'--plot takes a file ending with {", ".join(FORMATS)}, got {str(path)!r}')


def plot(title: str, rows: Sequence[str], panels: Sequence[Panel]) -> Figure:
    """Draw a table.

    Open circles are the thesis's numbers, filled ones those measured here, open diamonds those
    measured here that have a mark; a bar goes from the least to the largest of several, or along
    the interval. What is missing here says "not yet run" in its line.

    Args:
        title (str): Above all.
        rows (sequence): Names, the first at the top.
        panels (sequence): At least one.

    Returns:
        Figure: With the Agg canvas; no window, no global state.
    """
    width = 0.085 * max(map(len, rows)) + (3.6 if len(panels) < 3 else 2.2) * len(panels)
    figure = Figure(figsize=(width, 1.35 + 0.3 * len(rows)), layout='constrained')
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    axes[0].set_yticks(range(len(rows)), rows, fontsize=8)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    for ax, panel in zip(axes, panels, strict=False):
        _draw(ax, panel)
    shown = ['thesis', 'here'] + ['here, with a mark'] * any(any(p.marked) for p in panels)
    figure.legend(
        [axes[0].plot([], [], **_STYLES[name])[0] for name in shown],
        shown,
        loc='outside lower center',
        ncols=len(shown),
        frameon=False,
        fontsize=8,
    )
    return figure


def save(figure: Figure, path: Path) -> None:
    """By suffix; an SVG keeps its words as words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({'svg.fonttype': 'none', 'pdf.fonttype': 42}):
        figure.savefig(path, dpi=150)


def _draw(ax, panel: Panel) -> None:
    ax.set_title(panel.title, fontsize=9)
    ax.set_xlabel('%', fontsize=8)
    ax.tick_params(labelsize=8)
    ax.grid(axis='y', color='#e6e6e6')
    ax.set_axisbelow(True)
    for side in ('top', 'right'):
        ax.spines[side].set_visible(False)
    for y, (thesis, here) in enumerate(zip(panel.thesis, panel.here, strict=False)):
        if thesis is not None:
            ax.plot(thesis, y, **_STYLES['thesis'])
        if here is not None:
            mean, low, high = here
            if high > low:
                ax.plot((low, high), (y, y), color=_BLUE, linewidth=1.5)
            ax.plot(mean, y, **_STYLES['here, with a mark' if panel.marked[y] else 'here'])
        elif panel.wanted[y]:
            ax.text(
                1.0,
                y,
                'not yet run',
                transform=ax.get_yaxis_transform(),
                ha='right',
                va='center',
                fontsize=6,
                color='#8c8c8c',
                bbox=dict(facecolor='white', edgecolor='none', pad=1),
            )
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.28 * (high - low))  # a place for the words
