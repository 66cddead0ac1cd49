"""What R2O saw and found, as contact sheets (the thesis's figure 2.1)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from .draw import blend_labels, draw_boundaries, draw_boxes, resize_image
from .probe import labels_in_view
from .sheet import contact_sheet

VIEW_COLORS = ((255, 176, 0), (100, 220, 255), (255, 120, 200), (170, 255, 120))


def objects_panel(
    images: np.ndarray,
    priors: np.ndarray | None,
    objects: Sequence[tuple[str, np.ndarray]],
    title: str = '',
    note: str = '',
    cell: int = 256,
) -> Figure:
    """Rows: images. Columns: image, prior mask, refined objects (once or several).

    Args:
        images (np.ndarray): (B, H, W, 3) uint8 RGB.
        priors (np.ndarray, optional): (B, h, w) superpixels; None where the
            method had no prior, which drops the column.
        objects (sequence): Pairs of a column name and object ids (B, s, s). Within
            a column the same id has the same colour in all images.
        title, note, cell: See :func:`contact_sheet`.

    Returns:
        matplotlib.figure.Figure
    """
    columns = ['image'] + ([] if priors is None else ['prior mask']) + [name for name, _ in objects]
    rows, captions = [], []
    for b, image in enumerate(images):
        image = resize_image(image, cell)
        row, words = [image], ['']
        if priors is not None:
            row.append(draw_boundaries(image, priors[b]))
            words.append(f'{len(np.unique(priors[b]))} superpixels')
        for _, labels in objects:
            row.append(blend_labels(image, labels[b]))
            words.append(plural(len(np.unique(labels[b])), 'object'))
        rows.append(row)
        captions.append(words)
    return contact_sheet(rows, columns, captions, title, note, cell)


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
    """Rows: images. Columns: where the views lie, the regions, each view and its regions.

    Args:
        images (np.ndarray, optional): (B, H, W, 3) uint8 RGB, the whole images.
        views (np.ndarray, optional): (B, V, 5): x1, y1, x2, y2 in [0, 1], flip.
        view_images (sequence): V arrays (B, h, w, 3) uint8 RGB, after all
            augmentations.
        labels (np.ndarray, optional): (B, s, s) region ids of the whole image.
        title, note, cell: See :func:`contact_sheet`.
        what (str): Name of a region.

    Returns:
        matplotlib.figure.Figure: Without boxes or regions where the arguments
        are None (an image-level method has views alone).
    """
    names = [str(v + 1) for v in range(len(view_images))]
    columns = [] if images is None else ['image and views']
    if labels is not None and images is not None:
        columns.append(f'{what}s')
    for name in names:
        columns.append(f'view {name}')
        if labels is not None and views is not None:
            columns.append(f'{what}s in view {name}')
    rows, captions = [], []
    for b in range(len(view_images[0])):
        row, words = [], []
        if images is not None:
            image = resize_image(images[b], cell)
            boxes = [] if views is None else list(views[b])
            colors = [VIEW_COLORS[v % len(VIEW_COLORS)] for v in range(len(boxes))]
            row.append(draw_boxes(image, boxes, colors, names))
            words.append('')
            if labels is not None:
                row.append(draw_boxes(blend_labels(image, labels[b]), boxes, colors, names))
                words.append(plural(len(np.unique(labels[b])), what))
        for v, pixels in enumerate(view_images):
            view = resize_image(pixels[b], cell)
            row.append(view)
            words.append(_describe(None if views is None else views[b][v]))
            if labels is not None and views is not None:
                seen = labels_in_view(labels[b], views[b][v], min(56, cell))
                row.append(blend_labels(view, seen))
                words.append(f'{plural(len(np.unique(seen)), what)} visible')
        rows.append(row)
        captions.append(words)
    return contact_sheet(rows, columns, captions, title, note, cell)


def plural(count: int, noun: str) -> str:
    """``1 object``, ``2 objects``."""
    return f'{count} {noun}{"" if count == 1 else "s"}'


def _describe(view: np.ndarray | None) -> str:
    if view is None:
        return ''
    share = float((view[2] - view[0]) * (view[3] - view[1]))
    return f'{share:.0%} of the image{", mirrored" if view[4] else ""}'
