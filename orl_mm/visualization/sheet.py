"""Contact sheets: pictures in a grid with captions, as one matplotlib figure."""

import textwrap
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon
from matplotlib.patheffects import withStroke

from orl_mm.io.atomic import write_atomic

from .draw import Color, fit_image, part_color

_DPI = 100
_GAP, _MARGIN, _CAPTION, _HEAD, _TITLE, _LEGEND = 6, 10, 17, 24, 30, 20  # pixels


class Cell(NamedTuple):
    """One picture of a contact sheet.

    Attributes:
        picture (np.ndarray): (H, W, 3) uint8 RGB.
        caption (str): Text below it.
        outlines (sequence): (4, 2) corners each, x and y as fractions of the picture, drawn
            as quadrilaterals that are numbered from 1.
        colors (sequence): RGB colors of the outlines; repeated if there are more outlines.
    """

    picture: np.ndarray
    caption: str = ''
    outlines: Sequence[np.ndarray] = ()
    colors: Sequence[Color] = ((255, 255, 255),)


def contact_sheet(
    rows: Sequence[Sequence[Cell]],
    columns: Sequence[str],
    title: str = '',
    note: str = '',
    cell: int = 256,
    parts: Sequence[str] = (),
) -> Figure:
    """Draw pictures in a grid, without resampling beyond ``cell``.

    Args:
        rows (sequence): Rows of :class:`Cell`; the longer side of each picture is resized to
            ``cell`` pixels.
        columns (sequence): Name of each column.
        title (str): Above everything.
        note (str): Small print below everything; wrapped.
        cell (int): Side of a picture in pixels.
        parts (sequence): Names of parts for a legend of their colors.

    Returns:
        matplotlib.figure.Figure: With an Agg canvas, independent of pyplot.

    Raises:
        ValueError: No rows, or a row whose length is not that of ``columns``.
    """
    if not rows:
        raise ValueError('a contact sheet needs at least one row')
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f'a row of {len(row)} pictures for {len(columns)} columns')
    gap = _GAP + (_CAPTION if any(shown.caption for row in rows for shown in row) else 0)
    width = len(columns) * (cell + _GAP) - _GAP + 2 * _MARGIN
    note = textwrap.fill(note, int((width - 2 * _MARGIN) / 5.4))
    top = (_TITLE if title else 4) + (_LEGEND if parts else 0) + _HEAD
    bottom = _MARGIN + gap - _GAP + (5 + 12 * (note.count('\n') + 1) if note else 0)
    height = top + len(rows) * (cell + gap) - gap + bottom
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        len(rows),
        len(columns),
        squeeze=False,
        gridspec_kw=dict(
            left=_MARGIN / width,
            right=1 - _MARGIN / width,
            top=1 - top / height,
            bottom=bottom / height,
            wspace=_GAP / cell,
            hspace=gap / cell,
        ),
    )
    for axes, name in zip(grid[0], columns, strict=True):
        x = (axes.get_position().x0 + axes.get_position().x1) / 2
        figure.text(x, 1 - (top - 5) / height, name, fontsize=10, va='bottom', ha='center')
    for axes, shown in zip(grid.flat, (shown for row in rows for shown in row), strict=True):
        axes.imshow(fit_image(shown.picture, cell), interpolation='none')
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_xlabel(shown.caption, fontsize=8.5, color='0.2', labelpad=2)
        _draw_outlines(axes, shown)
    left = _MARGIN / width
    if title:
        figure.text(left, 1 - 6 / height, title, fontsize=12, va='top', weight='bold')
    if note:
        figure.text(left, 4 / height, note, fontsize=8, va='bottom', color='0.3')
    if parts:
        figure.legend(  # type: ignore[call-overload]  # the stub lacks `handles` with `loc`
            handles=[
                Patch(
                    label=part.replace('_', ' '),
                    facecolor='#{:02x}{:02x}{:02x}'.format(*part_color(r)),
                    edgecolor='0.3',
                    linewidth=0.5,
                )
                for r, part in enumerate(parts)
            ],
            loc='upper left',
            bbox_to_anchor=(left, 1 - (_TITLE if title else 4) / height),
            ncols=len(parts),
            frameon=False,
            borderpad=0,
            borderaxespad=0,
            handlelength=1,
            handleheight=1,
            columnspacing=1.2,
            fontsize=9,
        )
    return figure


def _draw_outlines(axes: Axes, shown: Cell) -> None:
    left, right, bottom, top = axes.images[0].get_extent()
    size = np.array([right - left, bottom - top])
    for i, corners in enumerate(shown.outlines):
        color = np.array(shown.colors[i % len(shown.colors)]) / 255
        # One pixel inside, so that an outline that follows the picture's edge stays visible.
        points = np.clip(corners * size, 1, size - 1) + (left, top)
        stroke = [withStroke(linewidth=3.5, foreground='black')]
        axes.add_patch(
            Polygon(points, fill=False, edgecolor=color, linewidth=1.5, path_effects=stroke)
        )
        axes.annotate(
            str(i + 1),
            points[0],
            xytext=(2 + 10 * i, -2),
            textcoords='offset points',
            va='top',
            fontsize=9,
            bbox=dict(facecolor=color, edgecolor='none', pad=1.5),
        )


def figure_to_rgb(figure: Figure) -> np.ndarray:
    """The pixels of a figure, (H, W, 3) uint8 RGB."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]


def save_figure(figure: Figure, *paths: str | Path) -> list[Path]:
    """Write a figure in the formats of the file names, each file at once; returns the paths.

    The text of an SVG or PDF stays text.
    """
    for path in map(Path, paths):
        content = BytesIO()
        with matplotlib.rc_context({'svg.fonttype': 'none', 'pdf.fonttype': 42}):
            figure.savefig(content, dpi='figure', format=path.suffix[1:])
        write_atomic(path, content.getvalue())
    return [*map(Path, paths)]
