"""What to measure when a GPU is at hand for a few minutes, the most important part first.

    tools/benchmark.py gpu --device cuda --images FOLDER --json gpu.json

The file is written after each part, and a part that fails is noted in it. ``--parts`` chooses.
"""

import argparse
import copy
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from orl_mm.io.image_list import find_images
from orl_mm.models.utils.kmeans_graphs import KMeansGraphs

from . import dino
from .r2o import region_share
from .timing import Report, host_waits, median, peak_bytes
from .training import ROOT, BYOLStep, Step, build_model, build_optimizer, make_batch, quiet

BF16 = torch.bfloat16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--parts``, ``--steps`` and ``--work-dir``."""
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS))
    parser.add_argument('--steps', type=int, default=200, help='real steps (default: 200)')
    parser.add_argument('--work-dir', default='work_dirs/gpu', help='of the real steps')


def run(args: argparse.Namespace) -> Report:
    """ResNet-50, B = 128, K = 64, and ViT-S/16; bf16, channels-last (``--quick``: tiny)."""
    size = args.batch or (2 if args.quick else 128)
    report = Report('gpu', args, batch=size, parts=args.parts)
    bench = Bench(args, report, size)
    for name in args.parts:
        try:
            PARTS[name](bench)
        except Exception:
            report.details[f'{name} failed'] = traceback.format_exc()
            print(f'{name} failed:\n{traceback.format_exc()}', flush=True)
        if args.json:
            report.write(args.json)
        print(report, flush=True)
    return report


class Bench:
    """Networks and a batch of images on the device."""

    def __init__(self, args: argparse.Namespace, report: Report, size: int) -> None:
        self.args, self.report, self.size = args, report, size
        self.cuda = args.device == 'cuda'
        depth, clusters, segments = (18, 4, 20) if args.quick else (50, 64, 100)
        inputs, batch, _ = make_batch(size, 224, segments, args.images)
        self.batch = batch.to(args.device)
        self.inputs = [x.to(args.device, memory_format=torch.channels_last) for x in inputs]
        model = build_model(depth=depth, num_clusters=clusters).to(args.device)
        self.model: Any = model.to(memory_format=torch.channels_last)

    def step(self, kind: type = Step, graph: bool = True) -> Step:
        """A training step of a copy of the networks."""
        model = copy.deepcopy(self.model)
        if not graph:
            model.refiner.graphs = KMeansGraphs(capture=None)
        common = (model, build_optimizer(model), self.inputs, self.batch)
        return kind(*common, autocast=BF16)

    def time(self, sides: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
        """Seconds per step of each side, in turns."""
        rounds = self.args.rounds or (1 if self.args.quick else 5)
        return self.report.time(sides, rounds, 2 * self.cuda, repeat=10 if self.cuda else 1)


def same_labels(bench: Bench) -> None:
    """K-means as a graph finds what it finds without, for the same generator."""
    labels = []
    for graph in (True, False):
        step = bench.step(graph=graph)
        refiner, encoder = step.model.refiner, step.model.target['backbone']
        for draw in range(3):  # the second captures the graph
            generator = torch.Generator(bench.args.device).manual_seed(draw)
            with torch.autocast(bench.args.device, BF16):
                found = refiner.refine(encoder, bench.inputs[2], bench.batch, generator)
            labels.append(found.labels.clone())
    equal = torch.stack(labels[:3]) == torch.stack(labels[3:])
    bench.report.add(
        'cells of one cluster, graph and eager',
        equal.float().mean().item(),
        target=1,
        sense='at least',
    )


def waits(bench: Bench) -> None:
    """Waits of the host and peak memory of a step."""
    if not bench.cuda:
        return
    for name, step in (('BYOL', bench.step(BYOLStep)), ('R2O', bench.step())):
        peak = peak_bytes(step, 'cuda') / 2**30
        bench.report.add(f'peak memory above the weights, {name}', peak, unit='GiB')
        bench.report.add(f'waits a step, {name}', host_waits(step), unit='waits', target=0)


def throughput(bench: Bench) -> None:
    """Images per second of BYOL and R2O, with and without the graph, and what regions take."""
    sides = dict(byol=bench.step(BYOLStep), r2o=bench.step(), eager=bench.step(graph=False))
    seconds = bench.time(sides)
    bench.report.details['seconds'] = seconds
    for name, label in (('byol', 'BYOL'), ('r2o', 'R2O'), ('eager', 'R2O without graph')):
        rate = bench.size / median(seconds[name])
        bench.report.add(f'{label}, ResNet, bf16, channels-last', rate, unit='images/s')
    bench.report.ratio('R2O / BYOL', seconds, 'r2o', 'byol')
    region_share(bench.report, sides['r2o'], 1 if bench.args.quick else 20, target=3.0)


def vit(bench: Bench) -> None:
    """Images per second of DINO and MeDINO, two global crops."""
    size = 64 if bench.args.quick else 224
    with quiet():
        crops, samples = dino.make_inputs(bench.size, size, bench.args.device)
        step = dino.DINOStep(dino.build(bench.args.quick, bench.args.device), crops, samples)

    def autocast(guided: bool) -> None:
        with torch.autocast(bench.args.device, BF16):
            step(guided)

    seconds = bench.time(dict(dino=lambda: autocast(False), medino=lambda: autocast(True)))
    for name, label in (('dino', 'DINO'), ('medino', 'MeDINO')):
        rate = bench.size / median(seconds[name])
        bench.report.add(f'{label}, ViT-S/16, bf16', rate, unit='images/s')


def train(bench: Bench) -> None:
    """Real steps of R2O on a folder of images, with its loss and pictures in ``--work-dir``."""
    args = bench.args
    if not args.images:
        bench.report.details['train left out'] = 'give --images a folder'
        return
    images = len(list(find_images(args.images)))
    options = [
        'channels_last=True',
        f'train_dataloader.dataset.data_root={Path(args.images).resolve()}',
        f'train_dataloader.batch_size={bench.size}',
        f'train_cfg.max_epochs={max(1, args.steps * bench.size // images)}',
        'param_scheduler.0.warmup=0',
        'custom_hooks.4.interval=50',
        'default_hooks.logger.interval=10',
    ]
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(ROOT / 'configs/r2o/r50_in1k.py')]
    command += ['--precision', 'bf16', '--auto-scale-lr', '--work-dir', args.work_dir]
    command += ['--cfg-options', *options]
    subprocess.run(command, check=True)


def gaps(bench: Bench) -> None:
    """The longest times in which the device has nothing to do within a step, and after what."""
    step = bench.step()
    step()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        step()
        step()
    kernels = sorted(
        (e.time_range.start, e.time_range.end, e.name)
        for e in recorded.events()
        if not bench.cuda or e.device_type == torch.autograd.DeviceType.CUDA
    )
    found = [
        (after[0] - before[1], f'{before[2][:60]} -> {after[2][:60]}')
        for before, after in zip(kernels, kernels[1:], strict=False)
    ]
    found.sort(reverse=True)
    bench.report.details['longest gaps, us'] = found[:20]
    idle = sum(gap for gap, _ in found if gap > 0) / 2000
    bench.report.add('idle device in a step', idle, unit='ms', note=f'longest {found[0][0]:.0f} us')


PARTS: dict[str, Callable[[Bench], None]] = dict(
    graph=same_labels, waits=waits, throughput=throughput, vit=vit, gaps=gaps, train=train
)
