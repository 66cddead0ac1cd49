"""Contact sheets of objects, views and templates (the thesis's figures 2.1, 3.2 and 3.3)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from .draw import (
    PART_COLORS,
    blend_labels,
    draw_boundaries,
    fill_parts,
    fit_image,
    outline_parts,
    part_color,
    resize_image,
)
from .probe import labels_in_view
from .sheet import Cell, contact_sheet


def objects_panel(
    images: np.ndarray,
    priors: np.ndarray | None,
    objects: Sequence[tuple[str, np.ndarray]],
    title: str = '',
    note: str = '',
    cell: int = 256,
) -> Figure:
    """One row per image: the image, its prior mask, and its refined objects.

    Args:
        images (np.ndarray): (B, H, W, 3) uint8 RGB.
        priors (np.ndarray, optional): (B, h, w) superpixels; None drops their column.
        objects (sequence): Columns of objects: a name and ids (B, s, s). Within a column an
            id has the same color in all images.
        title, note, cell: See :func:`contact_sheet`.
    """
    rows = []
    for b, image in enumerate(images):
        image = resize_image(image, cell)
        row = [Cell(image)]
        if priors is not None:
            count = plural(len(np.unique(priors[b])), 'superpixel')
            row.append(Cell(draw_boundaries(image, priors[b]), count))
        for _, ids in objects:
            count = plural(len(np.unique(ids[b])), 'object')
            row.append(Cell(blend_labels(image, ids[b]), count))
        rows.append(row)
    columns = ['image'] + ['prior mask'] * (priors is not None) + [name for name, _ in objects]
    return contact_sheet(rows, columns, title, note, cell)


def views_panel(
    images: np.ndarray | None,
    views: np.ndarray | None,
    view_images: Sequence[np.ndarray],
    labels: np.ndarray | None,
    title: str = '',
    note: str = '',
    what: str = 'object',
    cell: int = 256,
) -> Figure:
    """One row per image: the image with its views outlined, the regions, and every view.

    Args:
        images (np.ndarray, optional): (B, H, W, 3) uint8 RGB, the whole images.
        views (np.ndarray, optional): (B, V, 5): x1, y1, x2, y2 in [0, 1], flip.
        view_images (sequence): V arrays (B, h, w, 3) uint8 RGB, after all augmentations.
        labels (np.ndarray, optional): (B, s, s) region ids of the whole image.
        title, note, cell: See :func:`contact_sheet`.
        what (str): Name of a region.

    Returns:
        matplotlib.figure.Figure: Without outlines or regions where the arguments are None, as
        for a method whose pipeline gives views only.
    """
    regions = labels is not None and views is not None
    columns: list[str] = []
    if images is not None:
        columns += ['image and views'] + [f'{what}s'] * (labels is not None)
    for v in range(len(view_images)):
        columns += [f'view {v + 1}'] + [f'{what}s in view {v + 1}'] * regions
    rows = []
    for b in range(len(view_images[0])):
        row = []
        if images is not None:
            image = resize_image(images[b], cell)
            outlines = () if views is None else [view_corners(view) for view in views[b]]
            row.append(Cell(image, '', outlines, PART_COLORS))
            if labels is not None:
                count = plural(len(np.unique(labels[b])), what)
                row.append(Cell(blend_labels(image, labels[b]), count, outlines, PART_COLORS))
        for v, pixels in enumerate(view_images):
            picture = resize_image(pixels[b], cell)
            row.append(Cell(picture, '' if views is None else describe_view(views[b][v])))
            if labels is not None and views is not None:
                seen = labels_in_view(labels[b], views[b][v], min(56, cell))
                count = plural(len(np.unique(seen)), what)
                row.append(Cell(blend_labels(picture, seen), f'{count} visible'))
        rows.append(row)
    return contact_sheet(rows, columns, title, note, cell)


class TemplateColumn(NamedTuple):
    """One source of templates.

    Attributes:
        name (str): Above the column.
        parts (sequence): R names.
        maps (sequence): For each image (R, h, w) in [0, 1], or None where it has none.
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
    """One row per image: the image, then each template over it, outlined at one half.

    Args:
        images (sequence): (H, W, 3) uint8 RGB each, of any sizes.
        columns (sequence): :class:`TemplateColumn`; a part has one color in all of them.
        names (sequence): Of the images.
        title, note, cell: See :func:`contact_sheet`.
    """
    parts = list(dict.fromkeys(part for column in columns for part in column.parts))
    rows = []
    for b, image in enumerate(images):
        image = fit_image(image, cell)
        row = [Cell(image, names[b] if names else '')]
        for column in columns:
            maps = column.maps[b]
            if maps is None:
                row.append(Cell(image, 'none'))
                continue
            colors = [part_color(parts.index(part)) for part in column.parts]
            row.append(Cell(outline_parts(fill_parts(image, maps, colors, 0.35), maps, colors)))
        rows.append(row)
    return contact_sheet(
        rows, ['image', *(column.name for column in columns)], title, note, cell, parts
    )


class TemplateViews(NamedTuple):
    """One image, its template, and the views that were cut out of both.

    Attributes:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        template (np.ndarray): (R, h, w) in [0, 1], of the whole image.
        boxes (np.ndarray): (V, 5) x1, y1, x2, y2 as fractions of the moved image, and flip.
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
    """One row per image: the image with its template and views outlined, then every view.

    Over a view the template is drawn on the network's patch grid, as the loss gets it.

    Args:
        samples (sequence): :class:`TemplateViews` with equal numbers of views.
        parts (sequence): R names.
        title, note, cell: See :func:`contact_sheet`.
    """
    guided = len(samples[0].view_templates)
    columns = ['image, template and views'] + [
        f'view {v + 1}' + (' (not guided)' if v >= guided else '')
        for v in range(len(samples[0].views))
    ]
    rows = []
    for sample in samples:
        motions = [None] * len(sample.boxes) if sample.motions is None else sample.motions
        geometry = [
            (box, motion, sample.size) for box, motion in zip(sample.boxes, motions, strict=True)
        ]
        image = outline_parts(fit_image(sample.image, cell), sample.template)
        row = [Cell(image, '', [view_corners(*view) for view in geometry])]
        for v, view in enumerate(sample.views):
            picture = fit_image(view, cell)
            if v < guided:
                maps = sample.view_templates[v]
                picture = outline_parts(fill_parts(picture, maps, alpha=0.2), maps)
            row.append(Cell(picture, describe_view(*geometry[v])))
        rows.append(row)
    return contact_sheet(rows, columns, title, note, cell, parts)


def view_corners(
    box: np.ndarray, motion: np.ndarray | None = None, size: tuple[int, int] = (1, 1)
) -> np.ndarray:
    """Where a view lies in the stored image.

    Args:
        box (np.ndarray): x1, y1, x2, y2 as fractions of the moved image, half-open.
        motion (np.ndarray, optional): (2, 3), x' = A x + b in pixels.
        size (tuple): (H, W) of the image in these pixels.

    Returns:
        np.ndarray: (4, 2) x, y as fractions of the image; may lie outside [0, 1].
    """
    x1, y1, x2, y2 = box[:4]
    corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], np.float64)
    if motion is None:
        return corners
    scale = np.array([size[1], size[0]], np.float64)
    motion = np.asarray(motion, np.float64)
    return np.linalg.solve(motion[:, :2], (corners * scale - motion[:, 2]).T).T / scale


def describe_view(
    box: np.ndarray, motion: np.ndarray | None = None, size: tuple[int, int] = (1, 1)
) -> str:
    """Such as ``52% of the image, turned -4°, moved +3% -8%, mirrored``; see `view_corners`."""
    words = [f'{(box[2] - box[0]) * (box[3] - box[1]):.0%} of the image']
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


def plural(count: int, noun: str) -> str:
    """``1 object``, ``2 objects``."""
    return f'{count} {noun}{"" if count == 1 else "s"}'
