"""Attention over images, head by head or part by part (the thesis's figures 3.1 and 3.4).

Attention maps are on the patch grid, (h, w). Templates and masks of parts, (R, h', w') in a
resolution of their own, cover the same area: the whole picture.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata

from orl_mm.evaluation.attention_scores import (
    average_precision,
    choose_head,
    coverage,
    on_grid,
    patch_counts,
)

from .draw import draw_heat, fit_image, outline_parts, part_color
from .sheet import Cell, contact_sheet

SCORES = ('ap', 'iou')


class NetworkMaps(NamedTuple):
    """The attention of one network over B images.

    Attributes:
        name (str): Above its column.
        maps (np.ndarray): (B, A, h, w), of A heads; not negative.
        heads (dict, optional): Head -> part, as stored in the checkpoint.
    """

    name: str
    maps: np.ndarray
    heads: dict[int, str] | None = None


class PartHead(NamedTuple):
    """The head that stands for a part, and its scores.

    Attributes:
        head (int): Its index.
        assigned (bool): By the checkpoint; otherwise it is the head with the best mean score.
        scores (np.ndarray): (B,), one per image; NaN where the image lacks the part.
    """

    head: int
    assigned: bool
    scores: np.ndarray


def heads_panel(
    images: Iterable[np.ndarray],
    templates: np.ndarray | Sequence[np.ndarray] | None,
    network: NetworkMaps,
    parts: Sequence[str] = (),
    title: str = '',
    names: Sequence[str] = (),
    cell: int = 224,
) -> Figure:
    """One row per image: the image with its template, then the attention of every head.

    Heads that are assigned to a part come first, with the part outlined and described by
    :func:`describe_map`.

    Args:
        images (iterable): B images (H, W, 3) uint8 RGB, of any sizes.
        templates (sequence, optional): For each image (R, h', w') in [0, 1].
        network (NetworkMaps): The attention.
        parts (sequence): R names.
        names (sequence): Of the images.
        title, cell: See :func:`contact_sheet`.
    """
    heads = network.heads or {}
    order = [*heads, *(h for h in range(network.maps.shape[1]) if h not in heads)]
    rows = []
    for b, image in enumerate(images):
        image = fit_image(image, cell)
        first = image if templates is None else outline_parts(image, templates[b])
        row = [Cell(first, names[b] if names else '')]
        for head in order:
            heat, caption = network.maps[b, head], ''
            picture = draw_heat(image, heat)
            if templates is not None and heads.get(head) in parts:
                r = parts.index(heads[head])
                picture = outline_parts(picture, templates[b][r : r + 1], [part_color(r)])
                caption = describe_map(heat, templates[b][r])
            row.append(Cell(picture, caption))
        rows.append(row)
    columns = ['image' if templates is None else 'image and parts'] + [
        f'head {h}' + (f': {heads[h]}'.replace('_', ' ') if h in heads else '') for h in order
    ]
    legend = parts if templates is not None else ()
    return contact_sheet(rows, columns, title, cell=cell, parts=legend)


def comparison_panel(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    parts: Sequence[str],
    networks: Sequence[NetworkMaps],
    names: Sequence[str] = (),
    score: str = 'ap',
    title: str = '',
    note: str = '',
    cell: int = 200,
    by_rank: bool = False,
) -> Figure:
    """One row per part of each image: the image, then the head of that part in each network.

    Args:
        images (sequence): B images (H, W, 3) uint8 RGB, of any sizes.
        masks, parts, score: See :func:`part_heads`.
        networks (sequence): :class:`NetworkMaps` over these images.
        names (sequence): Of the images.
        title, note, cell: See :func:`contact_sheet`.
        by_rank (bool): Color patches by their rank in the map, which is all that the scores
            depend on, instead of by value.

    Returns:
        matplotlib.figure.Figure: Without rows for parts that an image lacks.
    """
    chosen = [part_heads(network, masks, parts, score) for network in networks]
    rows = []
    for b, image in enumerate(images):
        image = fit_image(image, cell)
        for r, part in enumerate(parts):
            mask, color = masks[b][r : r + 1], [part_color(r)]
            if not mask.any():
                continue
            caption = ' · '.join([*names[b : b + 1], part.replace('_', ' ')])
            row = [Cell(outline_parts(image, mask, color), caption)]
            for network, heads in zip(networks, chosen, strict=True):
                heat = network.maps[b, heads[r].head]
                shade = rankdata(heat, 'min').reshape(heat.shape) - 1 if by_rank else heat
                inside = describe_map(heat, mask[0]).split(',')[0]
                caption = f'head {heads[r].head}: {score.upper()} {heads[r].scores[b]:.2f}'
                picture = outline_parts(draw_heat(image, shade), mask, color)
                row.append(Cell(picture, f'{caption}, {inside}'))
            rows.append(row)
    columns = ['image', *(network.name for network in networks)]
    return contact_sheet(rows, columns, title, note, cell, parts)


def describe_map(heat: np.ndarray, part: np.ndarray) -> str:
    """Such as ``81% inside, covers 64%``.

    The fraction of the map that lies inside the part (of the attention on patches, without
    CLS), and the fraction of the part whose attention is above the map's mean: a head may be
    entirely inside and attend to a single patch.

    Args:
        heat (np.ndarray): (h, w), not negative.
        part (np.ndarray): (h', w') in [0, 1], of the same area.
    """
    part = on_grid(part[None], heat.shape)[0]
    if not part.any():
        return 'no such part'
    inside = (heat * part).sum() / max(heat.sum(), 1e-12)
    covered = coverage(heat.reshape(1, -1), part.reshape(1, -1))[0, 0]
    return f'{inside:.0%} inside, covers {covered:.0%}'


def best_iou(scores: np.ndarray, positives: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Intersection over union of each map and each part, at the map's best threshold.

    Args:
        scores (np.ndarray): (A, N).
        positives (np.ndarray): (R, N), pixels of each part per patch.
        pixels (np.ndarray): (N,), pixels per patch.

    Returns:
        np.ndarray: (A, R) float64; NaN for a part without a pixel.
    """
    total = positives.sum(-1, dtype=np.float64)
    found = []
    for row in scores:
        order = np.argsort(-row, kind='stable')
        last = np.append(np.flatnonzero(np.diff(row[order])), len(row) - 1)  # of equal values
        hits = positives[:, order].cumsum(-1, dtype=np.float64)[:, last]
        seen = pixels[order].cumsum(dtype=np.float64)[last]
        found.append((hits / np.maximum(seen + total[:, None] - hits, 1)).max(-1))
    return np.where(total > 0, np.stack(found), np.nan)


def part_heads(
    network: NetworkMaps, masks: Sequence[np.ndarray], parts: Sequence[str], score: str = 'ap'
) -> list[PartHead]:
    """For each part the head that the checkpoint assigned to it, else the best one.

    Args:
        network (NetworkMaps): One network.
        masks (sequence): For each image (R, H, W) of 0 and 1; a part that the image lacks is 0
            everywhere.
        parts (sequence): R names.
        score (str): ``'ap'`` (average precision) or ``'iou'`` (:func:`best_iou`); the best
            head has the largest mean over the images that show the part.

    Raises:
        ValueError: An unknown score, a part in no image, or an assigned head that does not
            exist.
    """
    if score not in SCORES:
        raise ValueError(f'score must be one of {SCORES}, got {score!r}')
    function = average_precision if score == 'ap' else best_iou
    table = np.stack(
        [  # (B, A, R)
            function(maps.reshape(len(maps), -1), *patch_counts(mask, maps.shape[1:]))
            for maps, mask in zip(network.maps, masks, strict=True)
        ]
    )
    assigned = {part: head for head, part in (network.heads or {}).items()}
    beyond = [head for head in assigned.values() if head >= table.shape[1]]
    if beyond:
        raise ValueError(f'{network.name} assigns the heads {beyond}, but has {table.shape[1]}')
    out = []
    for r, part in enumerate(parts):
        shown = ~np.isnan(table[:, 0, r])
        if not shown.any():
            raise ValueError(f'no image shows {part}')
        head = assigned.get(part)
        if head is None:
            head = choose_head(table[shown][:, :, r], range(table.shape[1]))
        out.append(PartHead(int(head), part in assigned, table[:, head, r]))
    return out
