"""The figures of ``_bench.loader`` as a report."""

import argparse
import os

from .report import Report

# Key of loader.run's result -> name of the figure, target.
FIGURES = dict(
    cached=('x0, cached superpixels and two views / two views', 1.25),
    cached_one_worker=('the same through a data loader of one worker, wall clock', 1.25),
    online=('x0, online SLIC and two views / two views', None),
    x0_only=('x0 and two views / two views', None),
    stock=("mmpretrain's own BYOL pipeline / two views", None),
)


def run(args: argparse.Namespace) -> Report:
    """Cost an image of each way to load, as ratios to two views without x0 and masks."""
    from .loader import run as measure

    images = args.images or os.environ.get('ORL_DATA')
    found = measure(images=images, num_images=8 if args.quick else 200)
    report = Report(
        'loader',
        dict(
            images=images or 'crops of embedded photographs',
            num_images=found['num_images'],
            device='cpu',
        ),
        details=found,
    )
    ms = found['ms']
    for key, (name, target) in FIGURES.items():
        note = f'{ms[key]:.1f} ms / {ms["views"]:.1f} ms an image' if key in ms else ''
        report.add(name, found[key], target=target, note=note)
    return report
