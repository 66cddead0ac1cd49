"""What a step, a batch of data and the memory of each method of the small tables cost.

    tools/benchmark.py cost --natural DIR --xrays DIR --threads 1 --clock process --json FILE

Each row is the training of its config: mmengine's runner with all hooks, held at the start of
the middle epoch, on held batches of real images. Loading is what one worker does for a batch.
Then what the extrapolation of projects/cost needs of the full-size configs: see ``full_size.py``.
"""

import argparse
import os
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import cv2
import numpy as np
from cache_superpixels import main as cache_superpixels
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from orl_mm.engine import cli
from orl_mm.engine.hooks.set_epoch_hook import find_epoch_aware
from orl_mm.models.refiners import kmeans_refiner

from .timing import Report, Seconds, environment, median, peak_bytes, spread, watch
from .training import ROOT

# Table -> (the rows that others are compared with, rows: key -> folder of the config, name).
TABLES: dict[str, tuple[tuple[str, ...], dict[str, tuple[str, str]]]] = dict(
    natural=(
        ('byol',),
        {
            'byol': ('baselines', 'BYOL'),
            'mocov2': ('baselines', 'MoCo v2'),
            'densecl': ('baselines', 'DenseCL'),
            'detcon-b': ('baselines', 'DetCon_B'),
            'pixpro': ('baselines', 'PixPro'),
            'r2o': ('r2o', 'R2O, K = 64'),
            'official': ('r2o', 'R2O, official'),
        },
    ),
    xrays=(
        ('dino', 'dino-cxr-aug'),
        {
            'dino': ('medino', 'DINO, generic augmentation: 2 global and 8 local crops'),
            'dino-cxr-aug': ('medino', 'DINO, chest augmentation: 2 global crops'),
            'triangular': ('medino', 'MeDINO, triangular'),
            'average': ('medino', 'MeDINO, average'),
            'deformable': ('medino', 'MeDINO, deformable'),
        },
    ),
)
TEMPLATES = dict(average='average/average.npz', deformable='registered')  # row -> its templates


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--natural', metavar='DIR', help='photographs: imagenet_sample, coco and VOCdevkit'
    )
    parser.add_argument('--xrays', metavar='DIR', help='X-rays: jsrt and shenzhen')
    parser.add_argument(
        '--templates',
        metavar='DIR',
        default='work_dirs/small/templates',
        help="MeDINO's templates, as doit -f projects/medino/small/dodo.py table31 makes them",
    )


def run(args: argparse.Namespace) -> Report:
    """The tables whose images are given, each in turns, and their full-size configs."""
    from .full_size import measure_inputs

    if not (args.natural or args.xrays):
        raise SystemExit('benchmark.py: give --natural DIR, --xrays DIR, or both')
    cv2.setNumThreads(1)
    report, templates = Report('cost', args), Path(args.templates)
    about = dict(
        date=time.strftime('%Y-%m-%d'),
        machine='{cpu_count} cores, {machine}, torch {torch}'.format(**environment()),
        command='tools/benchmark.py cost --natural DIR --xrays DIR --threads 1 --clock process',
    )
    inputs: dict[str, Any] = dict(about)
    for table, variable in dict(natural='ORL_NATURAL', xrays='ORL_CXR').items():
        if not getattr(args, table):
            continue
        os.environ[variable] = os.path.abspath(getattr(args, table))
        with tempfile.TemporaryDirectory() as folder:
            found = measure(report, table, Path(folder), templates, args.rounds or 15)
            measure_inputs(report, table, inputs, Path(folder), templates)
        report.details.update({table: dict(found, **about), 'inputs': inputs})
        for row in found['rows'].values():
            for what in ('step', 'load'):
                for reference, ratio in row[what]['ratio'].items():
                    note = 'pairs {low:.3f}..{high:.3f}'.format(**ratio)
                    report.add(f'{what}, {row["name"]} / {reference}', ratio['value'], note=note)
    return report


def measure(
    report: Report,
    table: str,
    folder: Path,
    templates: Path,
    rounds: int,
    change: Callable[[Config], None] | None = None,
) -> dict[str, Any]:
    """Measure one table.

    Args:
        report (Report): For its clock.
        table (str): ``'natural'`` or ``'xrays'``.
        folder (Path): For logs, and the superpixels of the images used.
        templates (Path): Of MeDINO.
        rounds (int): Steps of each method; a third as many batches are loaded.
        change (callable, optional): Changes each config, for tests.

    Returns:
        dict: ``rows``, ``batch``, ``rounds`` and, with R2O, ``kmeans``.
    """
    references, methods = TABLES[table]
    loops: dict[str, HeldLoop] = {}
    loads: dict[str, Loader] = {}
    turns = max(2, rounds // 3)
    for key, (family, _) in methods.items():
        cfg = read_config(f'configs/{family}/small/{key}.py', change)
        if any(step.type == 'orl_mm.GenerateSuperpixels' for step in pipeline_of(cfg)):
            loads[f'{key} anew'] = Loader(cfg, turns)
            keep_superpixels(cfg, loads[f'{key} anew'], folder / key)
        if key in TEMPLATES:
            pipeline_of(cfg)[2].source = str(templates / TEMPLATES[key])
        loads[key] = Loader(cfg, turns)
        loops[key] = hold(cfg, key, folder)
    load_seconds = report.time(loads, turns, progress=f'{table}: batches')
    for key, loop in loops.items():
        loop.batches = loads[key].batches
    step_seconds = report.time(loops, rounds, 2, progress=f'{table}: steps')
    rows = {}
    for key, (_, name) in methods.items():
        rows[key] = dict(
            name=name,
            step=against(step_seconds, key, references),
            load=against(load_seconds, key, references),
            peak_bytes=peak_bytes(loops[key]),
            held_bytes=held_bytes(loops[key]),
        )
        if f'{key} anew' in loads:
            rows[key]['load_anew'] = against(load_seconds, f'{key} anew', references)
    found = dict(rows=rows, batch=loads[key].size, rounds=rounds)
    if 'r2o' in loops:
        found['kmeans'] = kmeans_share(loops['r2o'], turns)
    return found


def against(seconds: Seconds, key: str, references: tuple[str, ...]) -> dict[str, Any]:
    """Median ``seconds`` of a side with extremes ``low`` and ``high``, and its ``ratio`` to each
    reference with the extremes of neighboring measurements."""
    mine, ratio = seconds[key], {}
    for reference in references:
        low, high = spread(mine, seconds[reference])
        value = median(mine) / median(seconds[reference])
        ratio[reference] = dict(value=value, low=low, high=high)
    return dict(seconds=median(mine), low=min(mine), high=max(mine), ratio=ratio)


def pipeline_of(cfg: Config) -> list:
    return cfg.train_dataloader.dataset.pipeline


def read_config(path: str, change: Callable[[Config], None] | None = None) -> Config:
    """A config whose loader works in this process, without pictures and TensorBoard."""
    cfg = Config.fromfile(str(ROOT / path))
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False, pin_memory=False)
    cli.set_dataloader_defaults(cfg, Namespace(no_pin_memory=True))
    cfg.custom_hooks = [h for h in cfg.custom_hooks if not h.type.endswith('VisualizationHook')]
    cfg.vis_backends = cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.log_level, cfg.launcher = 'WARNING', 'none'
    if change is not None:
        change(cfg)
    return cfg


class Loader:
    """What a worker does for a batch; each call loads the next one.

    Args:
        cfg (Config): With the data set, in its first epoch, and the batch size.
        turns (int): Batches, of images spread evenly over the list; then they repeat.

    Attributes:
        batches (list): The batches loaded, each once.
    """

    def __init__(self, cfg: Config, turns: int) -> None:
        init_default_scope(cfg.default_scope)
        loader = Runner.build_dataloader(cfg.train_dataloader)
        self.dataset, self.collate, self.size = (
            loader.dataset,
            loader.collate_fn,
            loader.batch_size,
        )
        for transform in find_epoch_aware(self.dataset):
            transform.set_epoch(0)
        places = np.linspace(0, len(self.dataset), turns * self.size, endpoint=False).astype(int)
        # Each batch has images from the whole list.
        self.chosen = places.reshape(self.size, turns).T.tolist()
        self.batches: list[dict] = []
        self.turn = count()

    def __call__(self) -> None:
        turn = next(self.turn)
        batch = self.collate([self.dataset[i] for i in self.chosen[turn % len(self.chosen)]])
        if turn < len(self.chosen):
            self.batches.append(batch)

    def list_images(self, path: Path) -> None:
        """Write the images of all batches to a file, relative to the data set's root."""
        root = self.dataset.data_root
        chosen = sorted({i for rows in self.chosen for i in rows})
        paths = [os.path.relpath(self.dataset.get_data_info(i)['img_path'], root) for i in chosen]
        path.write_text('\n'.join(paths) + '\n', encoding='utf-8')


def keep_superpixels(cfg: Config, loader: Loader, folder: Path) -> None:
    """Cache the superpixels of a loader's images, and let the config read them."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = Config(cfg.to_dict())
    listed.train_dataloader.dataset.list_file = str(folder / 'images.txt')
    loader.list_images(folder / 'images.txt')
    listed.dump(str(folder / 'config.py'))
    cache = str(folder / 'superpixels')
    cache_superpixels(['--config', str(folder / 'config.py'), '--out', cache, '--workers', '1'])
    (step,) = (step for step in pipeline_of(cfg) if step.type == 'orl_mm.GenerateSuperpixels')
    step.cache = cache


class HeldLoop(EpochBasedTrainLoop):
    """mmengine's training loop, held at the start of its middle epoch; a call is one iteration.

    All hooks run as in training with their schedules half-way, on fresh weights. The batches
    are given, so loading them is not part of the step.
    """

    batches: list[dict] = []

    def run(self) -> nn.Module:
        """Do all that comes before the first iteration."""
        self._epoch = self.max_epochs // 2
        self._iter = self._epoch * len(self.dataloader)
        self._turn = count()
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        return self.runner.model

    def __call__(self) -> None:
        turn = next(self._turn)
        # Not the first iteration of an epoch, for which AttentionRegHook logs more.
        place = 1 + turn % max(1, len(self.dataloader) - 1)
        self.run_iter(place, self.batches[turn % len(self.batches)])


def hold(cfg: Config, name: str, folder: Path) -> HeldLoop:
    """The loop of a config's runner, held; ``folder`` is for its logs."""
    cfg.work_dir, cfg.experiment_name = str(folder / name), f'cost_{name}_{id(cfg)}'
    runner = Runner.from_cfg(cfg)
    runner._train_loop = HeldLoop(runner, runner._train_dataloader, cfg.train_cfg.max_epochs)
    runner.train()
    return runner.train_loop


def held_bytes(loop: HeldLoop) -> int:
    """Bytes of weights, buffers (queues included) and the optimizer's state between two steps."""
    model = loop.runner.model
    tensors = [*model.parameters(), *model.buffers()]
    for state in loop.runner.optim_wrapper.optimizer.state.values():
        tensors += [value for value in state.values() if hasattr(value, 'element_size')]
    return sum(t.element_size() * t.nelement() for t in {id(t): t for t in tensors}.values())


def kmeans_share(loop: HeldLoop, steps: int) -> dict[str, float]:
    """Shares of K-means (``kmeans``) and of all object segmentation (``refine``) of an R2O step,
    and the means of its Lloyd ``iterations`` and ``points``."""
    found, fit = dict(iterations=0.0, points=0.0), kmeans_refiner.fit_kmeans

    def counted(points, *args, **kwargs):
        result = fit(points, *args, **kwargs)
        found['iterations'] += float(result.iterations) / steps
        found['points'] += len(points) / steps
        return result

    whole = SimpleNamespace(step=partial(loop))
    parts = [
        ('kmeans', kmeans_refiner, 'fit_kmeans'),
        ('refine', loop.runner.model.refiner, 'refine'),
        ('step', whole, 'step'),
    ]
    with (
        mock.patch.object(kmeans_refiner, 'fit_kmeans', counted),
        watch(parts, clock='process') as readings,
    ):
        for _ in range(steps):
            whole.step()
    seconds = readings()
    shares = {name: seconds[name] / seconds['step'] for name in ('kmeans', 'refine')}
    return dict(found, **shares)
