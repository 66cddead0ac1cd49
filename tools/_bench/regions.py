"""The pure functions on regions: labels to the grid of C4, masks to views, their memory."""

import argparse
import copy

import torch
import torch.nn.functional as F

from orl_mm.models.refiners import KMeansRefiner
from orl_mm.models.utils import RegionPairs, crop_masks, downsample_regions, mask_pool

from .batches import make_batch
from .clock import interleave, median, spread
from .memory import peak_bytes
from .published import find_roi_align
from .report import Report


def run(args: argparse.Namespace) -> Report:
    """Times and memory at batch 32 (``--quick``: 2)."""
    quick = args.quick
    b, size, segments = (args.batch or 2, 64, 20) if quick else (args.batch or 32, 224, 100)
    k, rounds, device = 8 if quick else 64, args.rounds or (2 if quick else 7), args.device
    _, batch, origin = make_batch(b, size, segments, args.images)
    batch = batch.to(device)
    m = batch.max_count
    report = Report(
        'regions',
        dict(
            batch=b, size=size, regions=m, clusters=k, rounds=rounds, device=device, images=origin
        ),
    )
    labels = batch.labels.long()
    sides = dict(
        counted=lambda: downsample_regions(labels, m, 14),
        bilinear=lambda: F.interpolate(
            F.one_hot(labels, m).permute(0, 3, 1, 2).float(),
            (14, 14),
            mode='bilinear',
            align_corners=False,
        ),
        average=lambda: F.adaptive_avg_pool2d(F.one_hot(labels, m).permute(0, 3, 1, 2).float(), 14),
    )
    gap = (sides['counted']() - sides['average']()).abs().max()
    seconds = interleave(sides, rounds, 2, device, repeat=1 if device == 'cpu' else 5)
    ours = seconds['counted']
    for other, text, target in (
        ('bilinear', 'one-hot + bilinear (published)', 50.0),
        ('average', 'one-hot + area average (same result)', None),
    ):
        report.add(
            f'labels to 14x14: {text} / counting',
            median(seconds[other]) / median(ours),
            target=target,
            sense='at least',
            note=f'{1e3 * median(seconds[other]):.1f} ms / {1e3 * median(ours):.2f} ms, '
            f'pairs {spread(seconds[other], ours)}',
        )
    report.add(
        'labels to 14x14: largest difference to the area average',
        gap,
        unit='of a cell',
        target=1e-6,
    )
    _crops(report, batch, labels % k, k, rounds, device)
    _memory(report, batch, b, k, size // 16, device)
    return report


def _crops(report: Report, batch, ids, k: int, rounds: int, device: str) -> None:
    fine = F.one_hot(ids[:, ::4, ::4], k).permute(0, 3, 1, 2).float().contiguous()
    views, side = batch.views[:, 0], fine.shape[-1]
    sides = dict(ours=lambda: crop_masks(fine, views, 7))
    compiled, name = find_roi_align(device)
    if compiled is not None:
        image = torch.arange(len(fine), device=device, dtype=fine.dtype)
        rois = torch.cat([image[:, None], views[:, :4] * side], 1)

        def theirs():
            found = compiled(fine, rois, 7, True)
            return torch.where(views[:, 4, None, None, None] == 1, found.flip(-1), found)

        sides['compiled'] = theirs
        report.add(
            'masks to a view: largest difference to roi_align',
            (sides['ours']() - theirs()).abs().max(),
            unit='of a mask',
            target=1e-5,
        )
    seconds = interleave(sides, rounds, 2, device, repeat=1 if device == 'cpu' else 5)
    if compiled is not None:
        report.add(
            f'masks to a view: {name} roi_align / crop_masks',
            median(seconds['compiled']) / median(seconds['ours']),
            note=f'pairs {spread(seconds["compiled"], seconds["ours"])}',
        )
    report.add(
        'masks to a view: crop_masks',
        1e3 * median(seconds['ours']),
        unit='ms',
        note=f'{tuple(fine.shape)} to 7 x 7' + ('' if compiled else f'; {name}'),
    )


def _memory(report: Report, batch, b: int, k: int, grid: int, device: str) -> None:
    """One step's regions and clustering, features given."""
    c4 = torch.randn(b, 1024, grid, grid, device=device)
    c5 = [torch.randn(b, 2048, 7, 7, device=device) for _ in range(2)]
    refiner = KMeansRefiner(num_clusters=k)
    refiner._features = lambda *args: c4  # the networks are not counted

    def regions():
        objects = refiner.refine(None, c4, copy.copy(batch))
        masks = [crop_masks(objects.masks, batch.views[:, v], 7) for v in (0, 1)]
        pairs = RegionPairs(*masks, healthy=objects.healthy)
        return [
            mask_pool(f, m).flatten(0, 1).index_select(0, pairs.rows())
            for f, m in zip(c5, masks, strict=False)
        ]

    report.add(
        'extra peak memory of regions and clustering',
        peak_bytes(regions, device) / 1e6,
        unit='MB',
        target=200.0,
        note=f'batch {b}, features given',
    )
