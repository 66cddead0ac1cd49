"""Templates over images (the thesis's figures 3.2 and 3.3)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from .draw import fit_image
from .parts import PART_COLORS, fill_parts, outline_parts, part_color, part_legend
from .sheet import contact_sheet


class TemplateColumn(NamedTuple):
    """One way to say where parts lie.

    Attributes:
        name (str): Above the column.
        parts (sequence): R names.
        maps (sequence): Of each image (R, h, w) in [0, 1], or None where it has none.
    """

    name: str
    parts: Sequence[str]
    maps: Sequence[np.ndarray | None]


def templates_panel(
    images: Sequence[np.ndarray],
    columns: Sequence[TemplateColumn],
    names: Sequence[str] = (),
    title: str = '',
    note: str = '',
    cell: int = 256,
) -> Figure:
    """Rows: images. Columns: the image, then each template over it, outlined at one half.

    Args:
        images (sequence): (H, W, 3) uint8 RGB each, of any sizes.
        columns (sequence): :class:`TemplateColumn`; a part has one colour in all of them.
        names (sequence): Of the images.
        title, note, cell: See :func:`contact_sheet`.

    Returns:
        matplotlib.figure.Figure
    """
    parts = list(dict.fromkeys(part for column in columns for part in column.parts))
    rows, captions = [], []
    for b, image in enumerate(images):
        image = fit_image(image, cell)
        row, words = [image], [names[b] if names else '']
        for column in columns:
            maps = column.maps[b]
            colors = [part_color(parts.index(part)) for part in column.parts]
            row.append(
                image
                if maps is None
                else outline_parts(fill_parts(image, maps, colors, 0.35), maps, colors)
            )
            words.append('none' if maps is None else '')
        rows.append(row)
        captions.append(words)
    return contact_sheet(
        rows,
        ['image', *(column.name for column in columns)],
        captions,
        title,
        note,
        cell,
        part_legend(parts),
    )


class TemplateViews(NamedTuple):
    """One image, its template, and the views that were cut of both.

    Attributes:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        template (np.ndarray): (R, h, w) in [0, 1], of the whole image.
        boxes (np.ndarray): (V, 5) x1, y1, x2, y2 as shares of the moved image, and flip.
        motions (np.ndarray, optional): (V, 2, 3), x' = A x + b in pixels of the image file,
            whose size is ``size``.
        size (tuple): (H, W) of the image file.
        views (sequence): V images (h, w, 3) uint8 RGB.
        view_templates (np.ndarray): (G, R, g, g), of the first G views.
    """

    image: np.ndarray
    template: np.ndarray
    boxes: np.ndarray
    motions: np.ndarray | None
    size: tuple[int, int]
    views: Sequence[np.ndarray]
    view_templates: np.ndarray


def template_views_panel(
    samples: Sequence[TemplateViews],
    parts: Sequence[str],
    title: str = '',
    note: str = '',
    cell: int = 256,
) -> Figure:
    """Rows: images. Columns: the image with its template and where views lie, then each view.

    In a view the template is on the network's patch grid, as the network is shown it.

    Args:
        samples (sequence): :class:`TemplateViews` with equal numbers of views.
        parts (sequence): R names.
        title, note, cell: See :func:`contact_sheet`.

    Returns:
        matplotlib.figure.Figure
    """
    columns = ['image, template and views'] + [
        f'view {v + 1}' + ('' if v < len(samples[0].view_templates) else ' (not guided)')
        for v in range(len(samples[0].views))
    ]
    rows, captions = [], []
    for sample in samples:
        image = outline_parts(fit_image(sample.image, cell), sample.template)
        quads = [
            view_corners(box, None if sample.motions is None else sample.motions[v], sample.size)
            for v, box in enumerate(sample.boxes)
        ]
        row, words = [draw_quads(image, quads)], ['']
        for v, view in enumerate(sample.views):
            picture = fit_image(view, cell)
            if v < len(sample.view_templates):
                maps = sample.view_templates[v]
                picture = outline_parts(fill_parts(picture, maps, alpha=0.2), maps, PART_COLORS)
            row.append(picture)
            words.append(
                describe_view(
                    sample.boxes[v],
                    None if sample.motions is None else sample.motions[v],
                    sample.size,
                )
            )
        rows.append(row)
        captions.append(words)
    return contact_sheet(rows, columns, captions, title, note, cell, part_legend(parts))


def view_corners(box: np.ndarray, motion: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    """Where a view lies in the image as it is stored.

    Args:
        box (np.ndarray): x1, y1, x2, y2 as shares of the moved image, half-open.
        motion (np.ndarray, optional): (2, 3), x' = A x + b in pixels.
        size (tuple): (H, W) of the image in these pixels.

    Returns:
        np.ndarray: (4, 2) x, y as shares of the image; may lie outside of [0, 1].
    """
    x1, y1, x2, y2 = box[:4]
    corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], np.float64)
    if motion is None:
        return corners
    scale = np.array([size[1], size[0]], np.float64)
    motion = np.asarray(motion, np.float64)
    return np.linalg.solve(motion[:, :2], (corners * scale - motion[:, 2]).T).T / scale


def draw_quads(image: np.ndarray, quads: Sequence[np.ndarray]) -> np.ndarray:
    """White outlines of views over an image, numbered from 1.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        quads (sequence): (4, 2) each, x, y as shares of the image.

    Returns:
        np.ndarray: (H, W, 3) uint8.
    """
    pil = Image.fromarray(image)
    pen = ImageDraw.Draw(pil)
    scale = np.array([image.shape[1], image.shape[0]])
    for number, quad in enumerate(quads, 1):
        # Edges that coincide with the image's stay visible.
        points = np.clip(quad * scale, 1, scale - 2)
        for color, width in (((0, 0, 0), 4), ((255, 255, 255), 2)):
            pen.line([tuple(p) for p in (*points, points[0])], fill=color, width=width)
        x, y = points[0] + (3 + 14 * (number - 1), 3)
        pen.text(
            (x, y),
            str(number),
            fill=(255, 255, 255),
            stroke_fill=(0, 0, 0),
            stroke_width=2,
            font_size=13,
        )
    return np.asarray(pil)


def describe_view(box: np.ndarray, motion: np.ndarray | None, size: tuple[int, int]) -> str:
    """Such as ``52% of image, turned -4°, moved +3% -8%, mirrored``."""
    words = [f'{(box[2] - box[0]) * (box[3] - box[1]):.0%} of image']
    if motion is not None:
        angle = math.degrees(math.atan2(motion[0, 1], motion[0, 0]))
        scale = np.array([size[1], size[0]], np.float64)
        shift = (motion[:, :2] @ (scale / 2) + motion[:, 2] - scale / 2) / scale
        if abs(angle) >= 0.5:
            words.append(f'turned {angle:+.0f}°')
        if np.abs(shift).max() >= 0.005:
            words.append(f'moved {shift[0]:+.0%} {shift[1]:+.0%}')
    if box[4]:
        words.append('mirrored')
    return ', '.join(words)
