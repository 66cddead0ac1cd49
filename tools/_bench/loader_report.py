"""The figures of ``_bench.loader`` as a report."""

import argparse
import os

from .report import Report

# Key of loader.run's result -> target; what is not named here is reported only.
TARGETS = dict(cached=1.25)


def run(args: argparse.Namespace) -> Report:
    """Cost an image of each way to load, as ratios to two views without x0 and masks."""
    from .loader import run as measure
    images = args.images or os.environ.get('ORL_DATA')
    found = measure(images=images, num_images=8 if args.quick else 200)
    report = Report('loader', dict(images=images or 'its own', quick=args.quick), details=found)
    for key, value in found.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            report.add(key, value, target=TARGETS.get(key))
    return report
