"""The picture of a registration report: images with the outlines of their templates."""

import os
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from orl_mm.io.part_layouts import read_part
from orl_mm.registration.cache import TemplateCache
from orl_mm.registration.report import Record

from .draw import outline_parts, resize_image, resize_labels
from .sheet import Cell, contact_sheet


def report_picture(
    chosen: Sequence[tuple[str, Record]],
    cache: TemplateCache,
    read_image: Callable[[str], np.ndarray],
    truth: dict[str, dict[str, list[str]]] | None = None,
    cell: int = 256,
) -> Figure:
    """Rows: chosen images. Columns: the image, its template, the truth where there is any.

    Args:
        chosen (sequence): Titles and records, see ``report.choose``; at least one.
        cache (TemplateCache): Where the templates are.
        read_image (callable): Path to (H, W) uint8 grey.
        truth (dict, optional): See ``report.read_truth``.
        cell (int): Side of a picture in pixels.
    """
    with_truth = any(record.dice for _, record in chosen)
    rows = []
    for title, record in chosen:
        path = os.path.join(cache.root, record.image)
        image = resize_image(np.repeat(read_image(path)[..., None], 3, 2), cell)
        template = cache.read(path)
        row = [image, outline_parts(image, template)]
        words = [os.path.basename(path), _caption(title, record)]
        if with_truth:
            files = (truth or {}).get(os.path.splitext(os.path.basename(path))[0], {})
            true = np.zeros((len(cache.parts), cell, cell), np.uint8)
            for r, part in enumerate(cache.parts):
                if files.get(part):
                    true[r] = resize_labels(read_part(files[part]).astype(np.uint8), cell, cell)
            row.append(outline_parts(image, true))
            words.append(
                ' '.join(f'{value:.2f}' for value in record.dice.values())
                + ' Dice' * bool(record.dice)
            )
        rows.append([Cell(*each) for each in zip(row, words, strict=True)])
    columns = ['image', 'registered template', 'truth'][: 2 + with_truth]
    return contact_sheet(rows, columns, 'Registered templates', cell=cell, parts=cache.parts)


def _caption(title: str, record: Record) -> str:
    quality = record.outcome.quality
    return title + (f', similarity {min(quality.similarity):.2f}' if quality else '')
