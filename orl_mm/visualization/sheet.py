"""A contact sheet: rows and columns of pictures with names, as one figure."""

import textwrap
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .draw import fit_image

_DPI = 100
_GAP, _MARGIN, _CAPTION, _HEAD, _TITLE, _LEGEND = 6, 10, 17, 22, 30, 18  # pixels


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray | None]],
    columns: Sequence[str],
    captions: Sequence[Sequence[str]] | None = None,
    title: str = '',
    note: str = '',
    cell: int = 256,
    legend: Sequence[tuple[str, tuple[int, int, int]]] = (),
) -> Figure:
    """Pictures in a grid, drawn without resampling beyond ``cell``.

    Args:
        rows (sequence): Of each row its pictures, (H, W, 3) uint8 RGB, brought to
            ``cell`` by their longer side; None leaves a place empty.
        columns (sequence): Name of each column.
        captions (sequence, optional): Of each row the texts below its pictures.
        title (str): Above everything.
        note (str): Small, below everything; wrapped.
        cell (int): Side of a picture in pixels.
        legend (sequence): Names and RGB colours, in a line above the columns.

    Returns:
        matplotlib.figure.Figure: With the Agg canvas; no window, no global state.

    Raises:
        ValueError: No rows, or a row that is not as long as ``columns``.
    """
    if not rows:
        raise ValueError('a contact sheet needs at least one row')
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f'{len(columns)} columns, but a row of {len(row)}')
    below = 0 if captions is None else _CAPTION
    step_x, step_y = cell + _GAP, cell + below + _GAP
    width = 2 * _MARGIN + len(columns) * step_x - _GAP
    top = (_TITLE if title else 4) + (_LEGEND if legend else 0) + _HEAD
    lines = textwrap.wrap(note, int((width - 2 * _MARGIN) / 5.4))
    bottom = _MARGIN + (_CAPTION if note else 0) + 12 * max(len(lines) - 1, 0)
    height = top + len(rows) * step_y - _GAP + bottom
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)

    def text(x, y, words, size, **kwargs):
        figure.text(x / width, 1 - y / height, words, fontsize=size, **kwargs)

    if title:
        text(_MARGIN, 6, title, 12, va='top', ha='left', weight='bold')
    if note:
        text(_MARGIN, height - 4, '\n'.join(lines), 8, va='bottom', ha='left', color='0.3')
    x = _MARGIN
    for name, color in legend:
        y = (_TITLE if title else 4) + 2
        figure.patches.append(
            Rectangle(
                (x / width, 1 - (y + 11) / height),
                11 / width,
                11 / height,
                linewidth=0.5,
                transform=figure.transFigure,
                facecolor=np.array(color) / 255,
                edgecolor='0.3',
            )
        )
        text(x + 16, y + 12, name, 9, va='bottom', ha='left', color='0.2')
        x += 16 + 7 * len(name) + 14
    for c, name in enumerate(columns):
        text(_MARGIN + c * step_x + cell / 2, top - 5, name, 10, va='bottom', ha='center')
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            if picture is None:
                continue
            picture = fit_image(picture, cell)
            h, w = picture.shape[:2]
            x, y = _MARGIN + c * step_x, top + r * step_y
            left, below_it = x + (cell - w) // 2, y + (cell - h) // 2 + h
            axes = figure.add_axes((left / width, 1 - below_it / height, w / width, h / height))
            axes.set_axis_off()
            axes.imshow(picture, interpolation='none', aspect='auto')
            if captions is not None and captions[r][c]:
                text(
                    x + cell / 2,
                    y + cell + 2,
                    captions[r][c],
                    8.5,
                    va='top',
                    ha='center',
                    color='0.2',
                )
    return figure


def figure_to_rgb(figure: Figure) -> np.ndarray:
    """The pixels of a figure, (H, W, 3) uint8 RGB."""
    canvas = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_figure(figure: Figure, *paths: str | Path) -> list[Path]:
    """Write a figure as PNG; a file is complete or absent, never half."""
    out, drawn = [], BytesIO()
    figure.savefig(drawn, dpi=_DPI, format='png')
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f'.{path.name}.part')
        part.write_bytes(drawn.getvalue())
        part.replace(path)
        out.append(path)
    return out
