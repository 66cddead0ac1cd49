"""Attention of several networks beside one another, part by part (thesis, figures 3.1 and 3.4)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata

from orl_mm.evaluation.attention_scores import average_precision, choose_head, patch_counts

from .attention import describe_map, draw_heat
from .draw import fit_image
from .parts import outline_parts, part_color, part_legend
from .sheet import contact_sheet

SCORES = ('ap', 'iou')


class NetworkMaps(NamedTuple):
    """The attention of one network over B images.

    Attributes:
        name (str): Above its column.
        maps (np.ndarray): (B, A, h, w), of A heads.
        heads (dict, optional): Head -> part, as the checkpoint says; None where it guided none.
    """

    name: str
    maps: np.ndarray
    heads: dict[int, str] | None = None


class PartHead(NamedTuple):
    """The head that stands for a part, and how it does.

    Attributes:
        head (int): Its number.
        assigned (bool): By the checkpoint; otherwise the best by the mean score over images.
        scores (np.ndarray): (B,) of each image; NaN where the image lacks the part.
    """

    head: int
    assigned: bool
    scores: np.ndarray


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
    """Of each part the head that the checkpoint assigned to it, else the best one.

    Args:
        network (NetworkMaps): One network.
        masks (sequence): Of each image (R, H, W) of 0 and 1; a part that the image lacks is 0
            everywhere.
        parts (sequence): R names.
        score (str): ``'ap'`` (average precision) or ``'iou'`` (:func:`best_iou`), by the
            mean over the images that show the part.

    Returns:
        list: R :class:`PartHead`.

    Raises:
        ValueError: Another score; a part in no image; a head that the network has not.
    """
    if score not in SCORES:
        raise ValueError(f'score must be one of {SCORES}, got {score!r}')
    function = average_precision if score == 'ap' else best_iou
    table = np.stack(
        [  # (B, A, R)
            function(maps.reshape(len(maps), -1), *patch_counts(mask, maps.shape[1:]))
            for maps, mask in zip(network.maps, masks, strict=False)
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
    """Rows: the parts of each image. Columns: the image, then one network each.

    Args:
        images (sequence): B images (H, W, 3) uint8 RGB, of any sizes.
        masks (sequence): See :func:`part_heads`.
        parts (sequence): R names.
        networks (sequence): :class:`NetworkMaps` over these images.
        names (sequence): Of the images.
        score, title, note, cell: See :func:`part_heads`, :func:`contact_sheet`.
        by_rank (bool): Shade patches by their order in the map, which is all that the scores
            see, instead of by value: a head may look at one patch and rank the others well.

    Returns:
        matplotlib.figure.Figure: Without rows for parts that an image lacks.
    """
    chosen = [part_heads(network, masks, parts, score) for network in networks]
    rows, captions = [], []
    for b, image in enumerate(images):
        image = fit_image(image, cell)
        for r, part in enumerate(parts):
            mask = masks[b][r]
            if not mask.any():
                continue
            color = [part_color(r)]
            row = [outline_parts(image, mask[None], color)]
            words = [' · '.join([*names[b : b + 1], part.replace('_', ' ')])]
            for network, heads in zip(networks, chosen, strict=False):
                heat = network.maps[b, heads[r].head]
                shade = rankdata(heat, 'min').reshape(heat.shape) - 1 if by_rank else heat
                row.append(outline_parts(draw_heat(image, shade), mask[None], color))
                words.append(
                    f'head {heads[r].head}: {score.upper()} {heads[r].scores[b]:.2f}, '
                    + describe_map(heat, mask).split(',')[0]
                )
            rows.append(row)
            captions.append(words)
    return contact_sheet(
        rows,
        ['image', *(network.name for network in networks)],
        captions,
        title,
        note,
        cell,
        part_legend(parts),
    )
