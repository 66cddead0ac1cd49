"""What a step, a batch of data and the memory of every method of the small tables cost here.

Each is the config's own training, measured in turns with the others of its table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import torch
from _bench.clock import CLOCKS, interleave, median, use_clock
from _bench.memory import peak_bytes
from mmengine.config import Config

from orl_mm.models.refiners import kmeans_refiner

from .cost_loading import Loader, keep_superpixels, superpixel_step
from .cost_sides import HeldLoop, held_bytes, hold, read_config


@dataclass(frozen=True)
class Method:
    """A row: a config, and where an X-ray's template is below the folder of templates."""

    key: str
    name: str
    config: str
    template: str | None = None


NATURAL = tuple(
    Method(key, name, f'configs/{folder}/small/{key}.py')
    for key, name, folder in (
        ('byol', 'BYOL', 'baselines'),
        ('mocov2', 'MoCo v2', 'baselines'),
        ('densecl', 'DenseCL', 'baselines'),
        ('detcon-b', 'DetCon_B', 'baselines'),
        ('pixpro', 'PixPro', 'baselines'),
        ('r2o', 'R2O, K = 64', 'r2o'),
        ('official', 'R2O, official', 'r2o'),
    )
)
XRAYS = tuple(
    Method(key, name, f'configs/medino/small/{key}.py', template)
    for key, name, template in (
        ('dino', 'DINO, generic augmentation: 2 global and 8 local crops', None),
        ('dino-cxr-aug', 'DINO, chest augmentation: 2 global crops', None),
        ('triangular', 'MeDINO, triangular', None),
        ('average', 'MeDINO, average', 'average.npz'),
        ('deformable', 'MeDINO, deformable', 'registered'),
    )
)
# Table -> its rows, and the rows that others are compared with.
TABLES = dict(natural=(NATURAL, ('byol',)), xrays=(XRAYS, ('dino', 'dino-cxr-aug')))


def measure(
    table: str,
    folder: Path,
    templates: Path,
    rounds: int = 15,
    change: Callable[[Config], None] | None = None,
) -> dict[str, Any]:
    """One table, in one run; processor time of one thread, so a busy machine does not matter.

    Args:
        table (str): ``'natural'`` or ``'xrays'``; ``ORL_NATURAL`` and ``ORL_CXR`` say where the
            images lie.
        folder (Path): For logs and the superpixels of the images used.
        templates (Path): Has ``average.npz`` and the folder ``registered``; rows whose template
            is not there are left out.
        rounds (int): Steps of each method; a third as many batches are loaded.
        change (callable, optional): Changes each config, for tests.

    Returns:
        dict: ``rows``, ``without`` (keys of rows left out), ``batch`` and ``kmeans``.
    """
    methods, references = TABLES[table]
    absent = [m.key for m in methods if m.template and not (templates / m.template).exists()]
    methods = [m for m in methods if m.key not in absent]
    use_clock('process')
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    loops: dict[str, HeldLoop] = {}
    loads: dict[str, Callable[[], None]] = {}
    turns = max(2, rounds // 3)
    for method in methods:
        cfg = read_config(method.config, change)
        prior = superpixel_step(cfg)
        if prior is not None:
            loads[f'{method.key} anew'] = Loader(cfg, turns)
            prior.cache = str(keep_superpixels(loads[f'{method.key} anew'].paths(), prior, folder))
        if method.template:
            cfg.train_dataloader.dataset.pipeline[2].source = str(templates / method.template)
        loads[method.key] = Loader(cfg, turns)
        loops[method.key] = hold(cfg, method.key, folder)
    load_seconds = interleave(loads, turns, 1, progress=f'{table}: batches')
    for key, loop in loops.items():
        loop.batches = loads[key].batches
    step_seconds = interleave(loops, rounds, 2, progress=f'{table}: steps')
    rows = []
    for method in methods:
        key = method.key
        row = dict(
            key=key,
            name=method.name,
            config=method.config,
            step=against(step_seconds, key, references),
            load=against(load_seconds, key, references),
            peak_bytes=peak_bytes(loops[key]),
            held_bytes=held_bytes(loops[key]),
        )
        if f'{key} anew' in load_seconds:
            row['load_anew'] = against(load_seconds, f'{key} anew', references)
        rows.append(row)
    found = dict(
        table=table,
        rows=rows,
        references=list(references),
        without=absent,
        batch=loads[methods[0].key].size,
        rounds=rounds,
    )
    if 'r2o' in loops:
        found['kmeans'] = kmeans_share(loops['r2o'], turns)
    return found


def against(
    seconds: dict[str, list[float]], key: str, references: tuple[str, ...]
) -> dict[str, Any]:
    """Median seconds of a side, and its ratios to the references.

    Returns:
        dict: ``seconds``; ``low`` and ``high``, the extremes; ``ratio``, reference -> the ratio
        of medians and the extremes of the ratios of neighbouring measurements.
    """
    mine = seconds[key]
    ratio = {}
    for reference in references:
        pairs = [a / b for a, b in zip(mine, seconds[reference], strict=False)]
        ratio[reference] = dict(
            value=median(mine) / median(seconds[reference]), low=min(pairs), high=max(pairs)
        )
    return dict(seconds=median(mine), low=min(mine), high=max(mine), ratio=ratio)


def kmeans_share(loop: HeldLoop, steps: int) -> dict[str, float]:
    """What of an R2O step is K-means, and what all of object segmentation.

    Returns:
        dict: ``kmeans`` and ``refine`` (with the pass of x0 to C4), shares of the step in [0, 1];
        ``iterations`` of Lloyd's and ``points``, means over the steps.
    """
    now = CLOCKS['process']
    spent: dict[str, float] = dict(kmeans=0.0, refine=0.0, iterations=0.0, points=0.0)
    fit, refiner = kmeans_refiner.fit_kmeans, loop.runner.model.refiner
    refine = refiner.refine

    def timed(name, function, *args, **kwargs):
        start = now()
        out = function(*args, **kwargs)
        spent[name] += now() - start
        return out

    def timed_fit(points, *args, **kwargs):
        out = timed('kmeans', fit, points, *args, **kwargs)
        spent['iterations'] += float(out.iterations) / steps
        spent['points'] += len(points) / steps
        return out

    start = now()
    with (
        mock.patch.object(kmeans_refiner, 'fit_kmeans', timed_fit),
        mock.patch.object(refiner, 'refine', lambda *a, **k: timed('refine', refine, *a, **k)),
    ):
        for _ in range(steps):
            loop()
    whole = now() - start
    return dict(spent, kmeans=spent['kmeans'] / whole, refine=spent['refine'] / whole)
