"""The functions on regions: labels to the grid of C4, masks to views, their memory."""

import argparse
import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from orl_mm.models.refiners.kmeans_refiner import KMeansRefiner
from orl_mm.models.utils import RegionPairs, crop_masks, downsample_regions, mask_pool
from orl_mm.structures import RegionBatch

from .reference.r2o import binary_masks, crops, find_roi_align
from .timing import Report, median, peak_bytes
from .training import make_batch


def run(args: argparse.Namespace) -> Report:
    """Batch 32, 224 pixels, K = 64 (``--quick``: far smaller)."""
    quick, device = args.quick, args.device
    b, size, segments, k = (2, 64, 20, 8) if quick else (32, 224, 100, 64)
    b, rounds = args.batch or b, args.rounds or (2 if quick else 7)
    _, batch, origin = make_batch(b, size, segments, args.images)
    batch = batch.to(device)
    report = Report(
        'regions',
        args,
        batch=b,
        size=size,
        regions=batch.max_count,
        clusters=k,
        rounds=rounds,
        images=origin,
    )
    assert batch.labels is not None
    labels, repeat = batch.labels.long(), 1 if device == 'cpu' else 5
    compare_downsampling(report, labels, batch.max_count, rounds, repeat)
    masks = binary_masks((labels % k)[:, ::4, ::4], k).contiguous()
    compare_crops(report, masks, batch.views[:, 0], rounds, repeat)
    report.add(
        'extra peak memory of regions and clustering',
        memory(batch, k, size // 16, device) / 1e6,
        unit='MB',
        target=200.0,
        note=f'batch {b}, features given',
    )
    return report


def compare_downsampling(report: Report, labels: Tensor, m: int, rounds: int, repeat: int) -> None:
    """Counting labels per cell against resizing one-hot masks, to 14 x 14."""
    sides = dict(
        counted=lambda: downsample_regions(labels, m, 14),
        bilinear=lambda: F.interpolate(
            binary_masks(labels, m), (14, 14), mode='bilinear', align_corners=False
        ),
        average=lambda: F.adaptive_avg_pool2d(binary_masks(labels, m), 14),
    )
    seconds = report.time(sides, rounds, 2, repeat=repeat)
    for other, text, target in (
        ('bilinear', 'one-hot + bilinear (published)', 50.0),
        ('average', 'one-hot + area average (same result)', None),
    ):
        name = f'labels to 14x14: {text} / counting'
        report.ratio(name, seconds, other, 'counted', target=target, sense='at least')
    report.add(
        'labels to 14x14: largest difference to the area average',
        float((sides['counted']() - sides['average']()).abs().max()),
        unit='of a cell',
        target=1e-6,
    )


def compare_crops(report: Report, masks: Tensor, views: Tensor, rounds: int, repeat: int) -> None:
    """``crop_masks`` against a compiled ROIAlign, where there is one."""
    sides = dict(ours=lambda: crop_masks(masks, views, 7))
    compiled, library = find_roi_align(report.device)
    if compiled is not None:
        sides['compiled'] = lambda: crops(masks, views, compiled, True)
        report.add(
            'masks to a view: largest difference to roi_align',
            float((sides['ours']() - sides['compiled']()).abs().max()),
            unit='of a mask',
            target=1e-5,
        )
    seconds = report.time(sides, rounds, 2, repeat=repeat)
    if compiled is not None:
        name = f'masks to a view: {library} roi_align / crop_masks'
        report.ratio(name, seconds, 'compiled', 'ours')
    report.add(
        'masks to a view: crop_masks',
        1e3 * median(seconds['ours']),
        unit='ms',
        note=f'{tuple(masks.shape)} to 7 x 7' + ('' if compiled else f'; {library}'),
    )


def memory(batch: RegionBatch, k: int, grid: int, device: str) -> int:
    """Peak bytes of one step's regions and clustering; the features are given."""
    b = len(batch.views)
    c4 = torch.randn(b, 1024, grid, grid, device=device)
    c5 = [torch.randn(b, 2048, 7, 7, device=device) for _ in range(2)]
    refiner = KMeansRefiner(num_clusters=k)
    refiner._features = lambda *args: c4  # type: ignore[method-assign]  # given, not computed

    def regions() -> list[Tensor]:
        objects = refiner.refine(torch.nn.Identity(), c4, copy.copy(batch))
        m1, m2 = (crop_masks(objects.masks, batch.views[:, v], 7) for v in (0, 1))
        pairs = RegionPairs(m1, m2, checksums=[objects.checksum])
        return [
            mask_pool(f, m).flatten(0, 1).index_select(0, pairs.rows())
            for f, m in zip(c5, (m1, m2), strict=True)
        ]

    return peak_bytes(regions, device)
