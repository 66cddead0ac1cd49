"""Seconds and Dice of registering the exemplar to JSRT's 47 images, on one core.

``--curve`` adds the settings tried, ``--figure FILE`` draws Dice against time. Data: JSRT below
$ORL_CXR (default: data), or ``--data DIR``; its own download, or images/ and masks/<part>/.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Dict, List, Optional, Tuple

import cv2
import numpy as np
from tqdm import tqdm

from orl_mm.datasets.chest_xray_parts import ChestXRayParts
from orl_mm.datasets.part_layouts import read_part
from orl_mm.datasets.phantom import make_phantom
from orl_mm.datasets.xray_io import read_xray
from orl_mm.registration.contrast import prepare, to_grey
from orl_mm.registration.elastix import RegistrationError, elastix_version, warp_labels
from orl_mm.registration.elastix_settings import ElastixSettings
from orl_mm.registration.exemplar import Exemplar
from orl_mm.registration.folding import folded_share
from orl_mm.registration.outcome import align
from orl_mm.registration.quality import dice
from orl_mm.structures.view_geometry import ViewGeometry

from .clock import CLOCKS
from .registration_settings import DEFAULTS, MAIN, TUNED, curve, quick
from .report import Report

PARTS = ('left_lung', 'right_lung', 'heart')
NONE = 'no registration'
TARGET_SECONDS, TARGET_SPEEDUP = 0.5, 1.8


@dataclass
class Case:
    """An image and its true masks, (H, W) uint8 and part -> (H, W) bool."""
    name: str
    grey: np.ndarray
    masks: Dict[str, np.ndarray]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--data``, ``--curve``, ``--figure``."""
    parser.add_argument('--data', metavar='DIR', help='JSRT (default: jsrt below $ORL_CXR)')
    parser.add_argument('--curve', action='store_true', help='all settings that were tried')
    parser.add_argument('--figure', metavar='FILE', help='Dice against time, as a picture')


def run(args: argparse.Namespace) -> Report:
    """One core; ``--batch``: so many of the images."""
    exemplar, cases, source = phantoms() if args.quick else jsrt(args.data)
    if not cases:
        print(f'SKIPPED: {source}; give --data DIR, or --quick for a run on phantoms')
        return Report('registration', dict(skipped=source))
    cases = cases[:args.batch]
    settings = quick() if args.quick else curve() if args.curve else MAIN
    report = Report('registration', dict(images=len(cases), data=source, device='cpu', threads=1,
                                         library=elastix_version()))
    cv2.setNumThreads(1)
    found = measure(exemplar, cases, settings, CLOCKS[args.clock])
    _figures(report, found, settings)
    report.details['settings'] = {name: s.to_dict() for name, s in settings.items()}
    report.details['results'] = found
    _throughput(report, exemplar, cases, settings[TUNED])
    if args.figure:
        from orl_mm.visualization import save_figure
        save_figure(draw(found), args.figure)
        print(f'written: {args.figure}')
    return report


def jsrt(root: Optional[str]) -> Tuple[Optional[Exemplar], List[Case], str]:
    """The exemplar and the 47 images of the shipped lists; none, and why, where they are not."""
    root = root or os.path.join(os.environ.get('ORL_CXR', 'data'), 'jsrt')
    if not os.path.isdir(root):
        return None, [], f'there is no JSRT at {root}'

    def read(list_file: str) -> List[Case]:
        dataset = ChestXRayParts(root, parts=PARTS, list_file=list_file, pipeline=[])
        samples = (dataset.get_data_info(i) for i in range(len(dataset)))
        return [Case(s['id'], to_grey(read_xray(s['img_path'])),
                     {p: read_part(s['part_paths'][p]) for p in PARTS}) for s in samples]

    first, = read('jsrt_exemplar')
    return Exemplar(first.grey, first.masks), read('jsrt_score'), f'JSRT, from {first.name}'


def phantoms(count: int = 2) -> Tuple[Exemplar, List[Case], str]:
    """Small phantoms instead."""
    made = [make_phantom(index, size=64) for index in range(count + 1)]
    cases = [Case(f'phantom {i}', p.image, p.masks) for i, p in enumerate(made)]
    return Exemplar(cases[0].grey, cases[0].masks), cases[1:], 'PHANTOMS, no X-rays'


def measure(exemplar: Exemplar, cases: List[Case], settings: Dict[str, ElastixSettings],
            clock=time.process_time) -> Dict[str, dict]:
    """Seconds, Dice, folded share of each image, by each setting in turns.

    Time is from grey levels to warped masks, the image's preparation included.
    """
    found = {name: dict(seconds=[], dice=[], folded=[], failed=0) for name in (NONE, *settings)}
    sides = {name: _moving(exemplar, s) for name, s in settings.items()}
    _one(cases[0].grey, settings[TUNED], *sides[TUNED])  # warm-up
    for case in tqdm(cases, unit='img', disable=len(settings) < 3):
        untouched = sides[TUNED][1]
        found[NONE]['dice'].append(_dice(untouched, exemplar.parts, case))
        for name, s in settings.items():
            start = clock()
            masks, folded = _one(case.grey, s, *sides[name])
            found[name]['seconds'].append(clock() - start)
            found[name]['failed'] += masks is None
            masks = sides[name][1] if masks is None else masks
            found[name]['dice'].append(_dice(masks, exemplar.parts, case))
            found[name]['folded'].append(folded)
    return found


def _moving(exemplar: Exemplar, settings: ElastixSettings) -> Tuple[np.ndarray, np.ndarray]:
    return (prepare(exemplar.grey, settings.size, settings.contrast),
            exemplar.squashed_masks(settings.size))


def _one(grey, settings, moving, masks) -> Tuple[Optional[np.ndarray], float]:
    """Warped masks (None where Elastix failed), and the folded share."""
    fixed = prepare(grey, settings.size, settings.contrast)
    try:
        found = align(fixed, moving, masks, settings)
    except RegistrationError:
        return None, 0.
    positions = found.affine if found.deformable is None else found.deformable
    return warp_labels(masks, positions), folded_share(positions)


def _dice(masks: np.ndarray, parts, case: Case) -> List[float]:
    whole = ViewGeometry.whole(*masks.shape[1:])
    return [dice(whole.apply_labels(mask, case.masks[part].shape), case.masks[part])
            for part, mask in zip(parts, masks)]


def _figures(report: Report, found: Dict[str, dict], settings: Dict[str, ElastixSettings]) -> None:
    means = {name: np.mean(value['dice'], 0) for name, value in found.items()}
    report.add('mean Dice without registration', np.mean(means[NONE]), unit='',
               note=_words(means[NONE]))
    for name in settings:
        value = found[name]
        report.add(f'seconds an image: {name}', np.mean(value['seconds']), unit='s',
                   target=TARGET_SECONDS if name == TUNED else None,
                   note=f'Dice {_words(means[name])}, worst {_words(np.min(value["dice"], 0))}; '
                   f'{sum(f > 0 for f in value["folded"])} folded, {value["failed"]} failed')
    for r, part in enumerate(PARTS):
        report.add(f'Dice of {part}, tuned - defaults', means[TUNED][r] - means[DEFAULTS][r],
                   unit='', target=0., sense='at least',
                   note=f'{means[TUNED][r]:.3f} - {means[DEFAULTS][r]:.3f}')


def _throughput(report: Report, exemplar, cases, settings) -> None:
    """Wall-clock rate of two processes against one."""
    if (os.cpu_count() or 1) < 2:
        report.settings['throughput'] = 'one core only'
        return
    work = partial(_work, settings=settings, side=_moving(exemplar, settings))
    greys = [case.grey for case in cases]
    seconds = {}
    for processes in (1, 2):
        with ProcessPoolExecutor(processes, get_context('fork')) as pool:
            list(pool.map(work, greys[:2 * processes]))  # starts them
            start = time.perf_counter()
            list(pool.map(work, greys))
            seconds[processes] = time.perf_counter() - start
    report.add('images a second, two processes / one', seconds[1] / seconds[2],
               target=TARGET_SPEEDUP, sense='at least',
               note=f'wall clock {seconds[1]:.1f} s / {seconds[2]:.1f} s; means nothing on cores '
               f'that are busy: load {os.getloadavg()[0]:.1f}')


def _work(grey, settings, side) -> None:
    _one(grey, settings, *side)


def draw(found: Dict[str, dict]):
    """Mean Dice over parts against seconds, on a logarithmic axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(9, 5.5), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, value in found.items():
        score = float(np.mean(value['dice']))
        if name == NONE:
            axes.axhline(score, color='0.6', linestyle=':', label=NONE)
            continue
        color = {DEFAULTS: 'tab:red', TUNED: 'tab:green'}.get(name, 'tab:blue')
        seconds = float(np.mean(value['seconds']))
        axes.plot(seconds, score, 'o', color=color)
        axes.annotate(name.removeprefix('tuned, '), (seconds, score), (4, 3), fontsize=7,
                      textcoords='offset points')
    axes.axvline(TARGET_SECONDS, color='0.6', linestyle='--', label=f'{TARGET_SECONDS} s')
    axes.set(xscale='log', xlabel='seconds of one core an image', ylabel='mean Dice of the parts')
    axes.legend(loc='lower right')
    return figure


def _words(values) -> str:
    return ' / '.join(f'{value:.3f}' for value in values)
