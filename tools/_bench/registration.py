"""Seconds and Dice of registering the exemplar to JSRT's 47 images, on one core.

``--curve`` adds the settings tried, ``--figure FILE`` draws Dice against time, ``--others`` adds
images of other hospitals. Data: JSRT below $ORL_CXR (default: data), or ``--data DIR``; its own
download, or images/ and masks/<part>/.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import cv2
import numpy as np
from tqdm import tqdm

from orl_mm.registration.contrast import prepare
from orl_mm.registration.elastix import RegistrationError, elastix_version
from orl_mm.registration.elastix_settings import ElastixSettings
from orl_mm.registration.exemplar import Exemplar
from orl_mm.registration.quality import CONTRAST, Checks, assess, dice
from orl_mm.registration.reference import Reference, make_reference
from orl_mm.registration.register_image import align
from orl_mm.structures.view_geometry import ViewGeometry

from .clock import CLOCKS
from .registration_cases import PARTS, Case, jsrt, others, phantoms
from .registration_settings import DEFAULTS, MAIN, TUNED, curve, quick
from .report import Report

NONE = 'no registration'
TARGET_SECONDS, TARGET_SPEEDUP = 0.5, 1.8
BAD, GOOD = 0.8, 0.85  # mean Dice of an image, by which the checks are judged


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--data``, ``--curve``, ``--figure``."""
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


def run(args: argparse.Namespace) -> Report:
    """One core; ``--batch``: so many of the images."""
    exemplar, cases, source = phantoms() if args.quick else jsrt(args.data)
    if not cases:
        print(f'SKIPPED: {source}; give --data DIR, or --quick for a run on phantoms')
        return Report('registration', dict(skipped=source))
    cases = cases[: args.batch]
    settings = quick() if args.quick else curve() if args.curve else MAIN
    report = Report(
        'registration',
        dict(images=len(cases), data=source, device='cpu', threads=1, library=elastix_version()),
    )
    cv2.setNumThreads(1)
    found = measure(exemplar, cases, settings, CLOCKS[args.clock])
    _figures(report, found)
    report.details['settings'] = {name: s.to_dict() for name, s in settings.items()}
    report.details['results'] = found
    everything = [found]
    for root in args.others:
        where = os.path.basename(os.path.normpath(root))
        other = measure(
            exemplar, others(root, exemplar.parts)[: args.batch], settings, CLOCKS[args.clock]
        )
        everything.append(other)
        report.details[f'results on {where}'] = other
        for name in other:
            scores = np.array(other[name]['dice'])
            report.add(
                f'mean Dice on {where}: {name}',
                scores.mean(),
                unit='',
                note=f'{len(scores)} images, {_words(scores.mean(0))}, worst '
                f'{_words(scores.min(0))}',
            )
    _checks(report, everything)
    _throughput(report, exemplar, cases, settings[TUNED])
    if args.figure:
        from orl_mm.visualization import save_figure

        save_figure(draw(found), args.figure)
        print(f'written: {args.figure}')
    return report


def measure(
    exemplar: Exemplar,
    cases: list[Case],
    settings: dict[str, ElastixSettings],
    clock=time.process_time,
) -> dict[str, dict]:
    """Seconds, Dice, folded share and what the checks say of each image, settings in turns.

    Time is from grey levels to positions, the image's preparation included.
    """
    found = {name: dict(seconds=[], dice=[], folded=[], reason=[]) for name in (NONE, *settings)}
    sides = {name: make_reference(exemplar, s) for name, s in settings.items()}
    _positions(cases[0].grey, sides[TUNED])  # warm-up
    for case in tqdm(cases, unit='img', disable=len(settings) < 3):
        found[NONE]['dice'].append(_dice(sides[TUNED].masks, exemplar.parts, case))
        for name, reference in sides.items():
            result = found[name]
            start = clock()
            positions = _positions(case.grey, reference)
            result['seconds'].append(clock() - start)
            masks, folded, reason = reference.masks, 0.0, 'Elastix failed'
            if positions is not None:
                seen = prepare(case.grey, reference.settings.size, CONTRAST)
                masks, quality = assess(seen, reference.seen, reference.masks, positions)
                folded, reason = quality.folded, Checks().reason(quality, exemplar.parts)
            result['dice'].append(_dice(masks, exemplar.parts, case))
            result['folded'].append(folded)
            result['reason'].append(reason)
    return found


def _positions(grey: np.ndarray, reference: Reference) -> np.ndarray | None:
    """Of a whole registration, without fallbacks; None where Elastix failed."""
    settings = reference.settings
    fixed = prepare(grey, settings.size, settings.contrast)
    try:
        return align(fixed, reference.moving, reference.masks, settings).deformable
    except RegistrationError:
        return None


def _dice(masks: np.ndarray, parts, case: Case) -> list[float]:
    whole = ViewGeometry.whole(*masks.shape[1:])
    return [
        dice(whole.apply_labels(mask, case.masks[part].shape), case.masks[part])
        for part, mask in zip(parts, masks, strict=False)
        if part in case.masks
    ]


def _figures(report: Report, found: dict[str, dict]) -> None:
    means = {name: np.mean(value['dice'], 0) for name, value in found.items()}
    report.add(
        'mean Dice without registration', np.mean(means[NONE]), unit='', note=_words(means[NONE])
    )
    for name, value in found.items():
        if name == NONE:
            continue
        flagged = sum(reason is not None for reason in value['reason'])
        report.add(
            f'seconds an image: {name}',
            np.mean(value['seconds']),
            unit='s',
            target=TARGET_SECONDS if name == TUNED else None,
            note=f'Dice {_words(means[name])}, worst {_words(np.min(value["dice"], 0))}; '
            f'{sum(f > 0 for f in value["folded"])} folded, {flagged} flagged',
        )
    for r, part in enumerate(PARTS):
        report.add(
            f'Dice of {part}, tuned - defaults',
            means[TUNED][r] - means[DEFAULTS][r],
            unit='',
            target=0.0,
            sense='at least',
            note=f'{means[TUNED][r]:.3f} - {means[DEFAULTS][r]:.3f}',
        )


def _checks(report: Report, everything: list[dict[str, dict]]) -> None:
    """What the checks flag of all results, good and bad ones, of all settings."""
    scores, flagged = [], []
    for found in everything:
        for name, value in found.items():
            if name != NONE:
                scores += [float(np.mean(d)) for d in value['dice']]
                flagged += [reason is not None for reason in value['reason']]
    scores, flagged = np.array(scores), np.array(flagged)
    bad, good = scores < BAD, scores >= GOOD
    if bad.any():
        report.add(
            f'results with mean Dice < {BAD}: share that the checks flag',
            flagged[bad].mean(),
            unit='',
            note=f'{flagged[bad].sum()} of {bad.sum()}; the '
            f'worst that they miss {scores[~flagged].min():.2f}',
        )
    if good.any():
        report.add(
            f'results with mean Dice >= {GOOD}: share that the checks flag',
            flagged[good].mean(),
            unit='',
            note=f'{flagged[good].sum()} of {good.sum()}',
        )


def _throughput(report: Report, exemplar, cases, settings) -> None:
    """Wall-clock rate of two processes against one."""
    if (os.cpu_count() or 1) < 2:
        report.settings['throughput'] = 'one core only'
        return
    work = partial(_work, reference=make_reference(exemplar, settings))
    greys = [case.grey for case in cases]
    seconds = {}
    for processes in (1, 2):
        with ProcessPoolExecutor(processes, get_context('fork')) as pool:
            list(pool.map(work, greys[: 2 * processes]))  # starts them
            start = time.perf_counter()
            list(pool.map(work, greys))
            seconds[processes] = time.perf_counter() - start
    report.add(
        'images a second, two processes / one',
        seconds[1] / seconds[2],
        target=TARGET_SPEEDUP,
        sense='at least',
        note=f'wall clock {seconds[1]:.1f} s / {seconds[2]:.1f} s; means nothing on cores '
        f'that are busy: load {os.getloadavg()[0]:.1f}',
    )


def _work(grey: np.ndarray, reference: Reference) -> None:
    _positions(grey, reference)


def draw(found: dict[str, dict]):
    """Mean Dice over parts against seconds, on a logarithmic axis; settings by number."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = {
        name: (float(np.mean(value['seconds'])), float(np.mean(value['dice'])))
        for name, value in found.items()
        if name != NONE
    }
    colors = {DEFAULTS: 'tab:red', TUNED: 'tab:green'}
    for number, (name, (seconds, score)) in enumerate(points.items(), 1):
        axes.plot(
            seconds,
            score,
            'o',
            color=colors.get(name, 'tab:blue'),
            label=f'{number}  {name}: {seconds:.2f} s, {score:.3f}',
        )
        axes.annotate(str(number), (seconds, score), (4, 3), fontsize=8, textcoords='offset points')
    axes.axvline(TARGET_SECONDS, color='0.6', linestyle='--')
    ticks = [0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5]
    axes.set(
        xscale='log',
        xlabel='seconds of one core an image',
        ylabel='mean Dice of the parts',
        title=f'{len(found[NONE]["dice"])} images; without registration '
        f'{np.mean(found[NONE]["dice"]):.3f}',
    )
    axes.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
    axes.minorticks_off()
    seconds = [point[0] for point in points.values()]
    axes.set_xlim(0.8 * min(seconds), 1.25 * max(seconds))
    figure.legend(loc='outside right upper', fontsize=8, handlelength=1)
    return figure


def _words(values) -> str:
    return ' / '.join(f'{value:.3f}' for value in values)
