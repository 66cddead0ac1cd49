"""Seconds and Dice of registering the exemplar to JSRT's 47 images, on one core.

``--set grid=32 search=0`` also measures the tuned settings with these changes. JSRT is read from
``--data DIR`` (default: jsrt below $ORL_CXR, or below data/): its own download, or images/ and
masks/<part>/.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from orl_tools import KeyValueAction

from orl_mm.datasets.chest_xray_parts import ChestXRayParts
from orl_mm.datasets.phantom import make_phantom
from orl_mm.io.part_layouts import read_part
from orl_mm.io.xray import read_xray
from orl_mm.registration.contrast import prepare, to_grey
from orl_mm.registration.elastix import (
    ELASTIX_DEFAULTS,
    ElastixSettings,
    RegistrationError,
    elastix_version,
)
from orl_mm.registration.exemplar import Exemplar, Reference, make_reference
from orl_mm.registration.quality import CONTRAST, Checks, assess, dice
from orl_mm.registration.register import align
from orl_mm.structures.view_geometry import ViewGeometry

from .timing import CLOCKS, Report

PARTS = ('left_lung', 'right_lung', 'heart')
NONE, DEFAULTS, TUNED = 'no registration', 'Elastix defaults', 'tuned'
TARGET_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--data', metavar='DIR', help='JSRT (default: jsrt below $ORL_CXR)')
    parser.add_argument(
        '--set',
        nargs='+',
        action=KeyValueAction,
        metavar='KEY=VALUE',
        help='also measure the tuned settings with these fields of ElastixSettings',
    )


@dataclass
class Case:
    """An image (H, W) uint8 and its true masks, part -> (H, W) bool."""

    grey: np.ndarray
    masks: dict[str, np.ndarray]


def run(args: argparse.Namespace) -> Report:
    """The exemplar to each image; ``--batch N`` takes the first N only."""
    root = args.data or os.path.join(os.environ.get('ORL_CXR', 'data'), 'jsrt')
    if args.quick:
        first, *cases = [Case(p.image, p.masks) for p in (make_phantom(i, 64) for i in range(3))]
        source = 'PHANTOMS, no X-rays'
    elif os.path.isdir(root):
        (first,) = read_cases(root, 'jsrt_exemplar')
        cases, source = read_cases(root, 'jsrt_score'), 'JSRT'
    else:
        source = f'there is no JSRT at {root}'
        print(f'SKIPPED: {source}; give --data DIR, or --quick for a run on phantoms')
        return Report('registration', args, skipped=source)
    exemplar, cases = Exemplar(first.grey, first.masks), cases[: args.batch]
    settings = make_settings(args.set, args.quick)
    report = Report('registration', args, images=len(cases), data=source, library=elastix_version())
    cv2.setNumThreads(1)
    found = measure(exemplar, cases, settings, CLOCKS[args.clock])
    compare(report, found)
    report.details.update(
        settings={name: s.to_dict() for name, s in settings.items()}, results=found
    )
    return report


def read_cases(root: str, list_file: str) -> list[Case]:
    """The listed images of JSRT with the masks of :data:`PARTS`."""
    dataset = ChestXRayParts(root, pipeline=[], list_file=list_file, parts=PARTS)
    infos = map(dataset.get_data_info, range(len(dataset)))
    return [
        Case(
            to_grey(read_xray(info['img_path'])),
            {part: read_part(info['part_paths'][part]) for part in PARTS},
        )
        for info in infos
    ]


def make_settings(
    changes: dict[str, Any] | None = None, quick: bool = False
) -> dict[str, ElastixSettings]:
    """Elastix' defaults, the tuned settings, and these with ``changes``, by name."""
    few: dict[str, Any] = {}
    if quick:  # for phantoms of 64 pixels
        few.update(size=64, resolutions=2, samples=256, grid=16.0)
        few.update(affine_iterations=8, bspline_iterations=8)
    tuned = replace(ElastixSettings(), **few)
    settings = {DEFAULTS: replace(ELASTIX_DEFAULTS, **few), TUNED: tuned}
    if changes:
        name = ', '.join([TUNED, *(f'{key} {value}' for key, value in changes.items())])
        settings[name] = replace(tuned, **changes)
    return settings


def measure(
    exemplar: Exemplar,
    cases: list[Case],
    settings: dict[str, ElastixSettings],
    clock: Callable[[], float] = time.process_time,
) -> dict[str, dict[str, list]]:
    """Seconds, Dice by part, folded share and the checks' verdict of each image and setting.

    Time is from grey levels to positions, the image's preparation included.
    """
    found: dict[str, dict[str, list]] = {NONE: dict(dice=[])}
    found.update({name: dict(seconds=[], dice=[], folded=[], reason=[]) for name in settings})
    references = {name: make_reference(exemplar, s) for name, s in settings.items()}
    positions_of(cases[0].grey, references[TUNED])  # warm-up
    for case in cases:
        found[NONE]['dice'].append(dice_of(references[TUNED].masks, exemplar.parts, case))
        for name, reference in references.items():
            start = clock()
            positions = positions_of(case.grey, reference)
            seconds = clock() - start
            reason: str | None = 'Elastix failed'
            masks, folded = reference.masks, 0.0
            if positions is not None:
                seen = prepare(case.grey, reference.settings.size, CONTRAST)
                masks, quality = assess(seen, reference.seen, reference.masks, positions)
                folded, reason = quality.folded, Checks().reason(quality, exemplar.parts)
            scores = dice_of(masks, exemplar.parts, case)
            for key, value in zip(found[name], (seconds, scores, folded, reason), strict=True):
                found[name][key].append(value)
    return found


def positions_of(grey: np.ndarray, reference: Reference) -> np.ndarray | None:
    """A whole registration without fallbacks; None where Elastix failed."""
    settings = reference.settings
    fixed = prepare(grey, settings.size, settings.contrast)
    try:
        return align(fixed, reference.moving, reference.masks, settings).deformable
    except RegistrationError:
        return None


def dice_of(masks: np.ndarray, parts: tuple[str, ...], case: Case) -> list[float]:
    whole = ViewGeometry.whole(*masks.shape[1:])
    return [
        dice(whole.apply_labels(mask, case.masks[part].shape), case.masks[part])
        for part, mask in zip(parts, masks, strict=True)
    ]


def describe(scores: list[list[float]]) -> str:
    mean, worst = (
        ' / '.join(f'{v:.3f}' for v in values) for values in (np.mean(scores, 0), np.min(scores, 0))
    )
    return f'Dice {mean}, worst {worst}'


def compare(report: Report, found: dict[str, dict[str, list]]) -> None:
    """Seconds of each setting; Dice of the tuned one minus that of the defaults."""
    scores = found[NONE]['dice']
    report.add('mean Dice without registration', np.mean(scores), '', note=describe(scores))
    for name, result in found.items():
        if name != NONE:
            folded = sum(share > 0 for share in result['folded'])
            flagged = sum(reason is not None for reason in result['reason'])
            report.add(
                f'seconds an image: {name}',
                np.mean(result['seconds']),
                unit='s',
                target=TARGET_SECONDS if name == TUNED else None,
                note=f'{describe(result["dice"])}; {folded} folded, {flagged} flagged',
            )
    tuned, defaults = (np.mean(found[name]['dice'], 0) for name in (TUNED, DEFAULTS))
    for part, a, b in zip(PARTS, tuned, defaults, strict=True):
        name, note = f'Dice of {part}, tuned - defaults', f'{a:.3f} - {b:.3f}'
        report.add(name, a - b, unit='', target=0.0, sense='at least', note=note)
