"""Seconds and Dice of registering the exemplar to JSRT's 47 images, on one core.

``--curve`` adds all settings that were tried, ``--figure FILE`` draws Dice against time,
``--others DIR`` adds images of other hospitals. JSRT is read from ``--data DIR`` (default: jsrt
below $ORL_CXR, or below data/): its own download, or images/ and masks/<part>/.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

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
BAD, GOOD = 0.8, 0.85  # mean Dice of an image, by which the checks are judged


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--data``, ``--curve``, ``--figure`` and ``--others``."""
    parser.add_argument('--data', metavar='DIR', help='JSRT (default: jsrt below $ORL_CXR)')
    parser.add_argument('--curve', action='store_true', help='all settings that were tried')
    parser.add_argument('--figure', metavar='FILE', help='Dice against time, as a picture')
    parser.add_argument(
        '--others',
        metavar='DIR',
        nargs='+',
        default=[],
        help="parts data sets to whose images JSRT's exemplar is registered too",
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
        (first,) = read_cases(root, PARTS, list_file='jsrt_exemplar')
        cases, source = read_cases(root, PARTS, list_file='jsrt_score'), 'JSRT'
    else:
        source = f'there is no JSRT at {root}'
        print(f'SKIPPED: {source}; give --data DIR, or --quick for a run on phantoms')
        return Report('registration', args, skipped=source)
    exemplar, cases = Exemplar(first.grey, first.masks), cases[: args.batch]
    settings = make_settings(args.curve, args.quick)
    clock = CLOCKS[args.clock]
    report = Report('registration', args, images=len(cases), data=source, library=elastix_version())
    cv2.setNumThreads(1)
    found = measure(exemplar, cases, settings, clock)
    compare(report, found)
    everything = {source: found}
    for folder in args.others:
        others = read_cases(folder, exemplar.parts, missing='skip')[: args.batch]
        name = Path(folder).resolve().name
        everything[name] = measure(exemplar, others, settings, clock)
        for setting, result in everything[name].items():
            note = f'{len(others)} images, {describe(result["dice"])}'
            report.add(f'mean Dice on {name}: {setting}', np.mean(result['dice']), '', note=note)
    judge_checks(report, list(everything.values()))
    report.details.update(
        settings={name: s.to_dict() for name, s in settings.items()},
        results=found,
        others=everything,
    )
    if args.figure:
        draw(found, args.figure)
        print(f'written: {args.figure}')
    return report


def read_cases(root: str, parts: tuple[str, ...], **options) -> list[Case]:
    """Images of a parts data set, with those of ``parts`` that they have."""
    if 'list_file' in options:
        options['parts'] = parts
    dataset = ChestXRayParts(root, pipeline=[], **options)
    cases = []
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        paths = info['part_paths']
        masks = {part: read_part(paths[part]) for part in parts if part in paths}
        cases.append(Case(to_grey(read_xray(info['img_path'])), masks))
    return cases


def make_settings(curve: bool = False, quick: bool = False) -> dict[str, ElastixSettings]:
    """Settings by name: Elastix' defaults and the tuned ones, and with ``curve`` what was tried.

    The curve goes step by step from the defaults to the tuned settings, then around these.
    """
    tuned = ElastixSettings()
    if quick:  # for phantoms of 64 pixels
        few: dict[str, Any] = dict(size=64, resolutions=2, samples=256, grid=16.0)
        few.update(affine_iterations=8, bspline_iterations=8)
        return {DEFAULTS: replace(ELASTIX_DEFAULTS, **few), TUNED: replace(tuned, **few)}
    if not curve:
        return {DEFAULTS: ELASTIX_DEFAULTS, TUNED: tuned}
    few = dict(affine_iterations=128, bspline_iterations=128, samples=1024, grid=32.0)
    short = replace(ELASTIX_DEFAULTS, **few)
    plain = replace(tuned, search=0.0, focus=0.0, affine_iterations=128, grid=32.0)
    steps = {
        DEFAULTS: ELASTIX_DEFAULTS,
        'defaults, 128 iterations, 1,024 samples, grid 32': short,
        'the same without bending energy': replace(short, bending=0.0),
        'the same with correlation': replace(plain, contrast=0.0, resolutions=None),
        'the same with even contrast': replace(plain, resolutions=None),
        'the same with the coarse search': replace(tuned, focus=0.0, grid=32.0),
        TUNED: tuned,
    }
    tried: dict[str, dict[str, Any]] = {
        '16 iterations': dict(affine_iterations=16, bspline_iterations=16),
        '32 iterations': dict(bspline_iterations=32),
        '64 iterations': dict(bspline_iterations=64),
        '256 iterations': dict(bspline_iterations=256),
        '512 samples': dict(samples=512),
        '2,048 samples': dict(samples=2048),
        'grid 20': dict(grid=20.0),
        'grid 24': dict(grid=24.0),
        'grid 48': dict(grid=48.0),
        '2 resolutions': dict(resolutions=2),
        '4 resolutions': dict(resolutions=4),
        'contrast 1/32': dict(contrast=1 / 32),
        'contrast 1/8': dict(contrast=1 / 8),
        'mutual information': dict(metric='AdvancedMattesMutualInformation'),
        'bending energy': dict(bending=0.01),
        'side 128': dict(size=128, grid=14.0),
    }
    for name, change in tried.items():
        steps[f'tuned, {name}'] = replace(tuned, **change)
    return steps


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
    for case in tqdm(cases, unit='img', disable=len(settings) < 3):
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
    """Dice of each part that the case has a true mask of."""
    whole = ViewGeometry.whole(*masks.shape[1:])
    return [
        dice(whole.apply_labels(mask, case.masks[part].shape), case.masks[part])
        for part, mask in zip(parts, masks, strict=True)
        if part in case.masks
    ]


def describe(scores: list[list[float]]) -> str:
    """Mean and worst Dice by part."""
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


def judge_checks(report: Report, everything: list[dict[str, dict[str, list]]]) -> None:
    """How many good and bad results of all settings the checks flag."""
    results = [r for found in everything for name, r in found.items() if name != NONE]
    scores = np.array([np.mean(d) for result in results for d in result['dice']])
    flagged = np.array([reason is not None for result in results for reason in result['reason']])
    for which, text in ((scores < BAD, f'< {BAD}'), (scores >= GOOD, f'>= {GOOD}')):
        if which.any():
            note = f'{flagged[which].sum()} of {which.sum()}'
            if not flagged.all():
                note += f'; worst result not flagged {scores[~flagged].min():.2f}'
            name = f'results with mean Dice {text}: share that the checks flag'
            report.add(name, flagged[which].mean(), unit='', note=note)


def draw(found: dict[str, dict[str, list]], path: str) -> None:
    """Plot the mean Dice of all parts against seconds; settings by number."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout='constrained')
    axes = figure.add_subplot()
    colors = {DEFAULTS: 'tab:red', TUNED: 'tab:green'}
    for number, name in enumerate((name for name in found if name != NONE), 1):
        x, y = np.mean(found[name]['seconds']), np.mean(found[name]['dice'])
        label = f'{number}  {name}: {x:.2f} s, {y:.3f}'
        axes.plot(x, y, 'o', color=colors.get(name, 'tab:blue'), label=label)
        axes.annotate(str(number), (x, y), (4, 3), fontsize=8, textcoords='offset points')
    axes.axvline(TARGET_SECONDS, color='0.6', linestyle='--')
    without = found[NONE]['dice']
    axes.set(
        xscale='log',
        xlabel='seconds of one core an image',
        ylabel='mean Dice of the parts',
        title=f'{len(without)} images; without registration {np.mean(without):.3f}',
    )
    figure.legend(loc='outside right upper', fontsize=8, handlelength=1)
    figure.savefig(path, dpi=150)
