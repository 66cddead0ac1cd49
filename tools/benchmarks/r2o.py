"""R2O's training step against plain BYOL's and against the published code's."""

import argparse
import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from orl_mm.models.refiners import kmeans_refiner
from orl_mm.models.selfsup import r2o
from orl_mm.models.utils import mask_pool
from orl_mm.structures import RegionBatch

from .reference.r2o import PublishedStep
from .timing import Report, host_waits, median, peak_bytes, watch
from .training import BYOLStep, Step, build_model, build_optimizer, make_batch

BF16 = torch.bfloat16
FORMATS = dict(contiguous=torch.contiguous_format, channels_last=torch.channels_last)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--batches', type=int, nargs='+', help='throughput on CUDA (default: 32 128)'
    )
    parser.add_argument('--depth', type=int, default=50, help='of the ResNet (default: 50)')


def run(args: argparse.Namespace) -> Report:
    """ResNet-50, 224 pixels, K = 64, 100 superpixels (``--quick``: far smaller)."""
    quick, device = args.quick, args.device
    size, depth = args.batch or (2 if quick else 8), 18 if quick else args.depth
    clusters, segments = (8, 20) if quick else (64, 100)
    rounds = args.rounds or (1 if quick else 5)
    inputs, batch, origin = make_batch(size, 224, segments, args.images)
    inputs, batch = [x.to(device) for x in inputs], batch.to(device)
    model = build_model(depth=depth, num_clusters=clusters).to(device)
    report = Report(
        'r2o', args, batch=size, depth=depth, clusters=clusters, rounds=rounds, images=origin
    )
    compare_steps(report, model, inputs, batch, rounds)
    if device == 'cuda':
        for size in args.batches or ([4] if quick else [32, 128]):
            throughput(report, model, size, segments, rounds, args)
    return report


def compare_steps(
    report: Report, model: Any, inputs: list[Tensor], batch: RegionBatch, rounds: int
) -> None:
    """BYOL and R2O in both memory formats, C4 of x0 in bfloat16, autocast; the published step."""
    sides: dict[str, Callable[[], object]] = {}
    steps: dict[str, Step] = {}
    for name, memory_format in FORMATS.items():
        networks = copy.deepcopy(model).to(memory_format=memory_format)
        images = [x.contiguous(memory_format=memory_format) for x in inputs]
        common = (networks, build_optimizer(networks), images, batch)
        sides[f'byol {name}'] = BYOLStep(*common)
        sides[f'r2o {name}'] = Step(*common, refiner_dtype=None)
        sides[f'r2o {name} x0-bf16'] = steps[name] = Step(*common, refiner_dtype=BF16)
    sides['byol autocast'] = BYOLStep(*common, autocast=BF16)
    sides['r2o autocast'] = Step(*common, autocast=BF16, refiner_dtype=None)
    published = PublishedStep(copy.deepcopy(model), model.refiner.num_clusters)
    assert batch.labels is not None
    labels = batch.labels.long()
    x1, x2, x0 = inputs
    sides['published'] = lambda: published(x1, x2, x0, labels, batch.views)
    repeat = 5 if report.device == 'cuda' else 1
    seconds = report.time(sides, rounds, repeat=repeat, progress='training steps')
    report.details.update(seconds=seconds, roi_align=published.roi_align_name)

    def ratio(name: str, top: str, bottom: str, target: float | None = None) -> None:
        report.ratio(name, seconds, top, bottom, target=target if report.device == 'cpu' else None)

    for name in FORMATS:
        text = f'R2O / BYOL, fp32, {name.replace("_", "-")}'
        ratio(text, f'r2o {name}', f'byol {name}')
        ratio(f'{text}, C4 of x0 in bf16', f'r2o {name} x0-bf16', f'byol {name}', 1.08)
    ratio('R2O / BYOL, bf16 autocast, channels-last', 'r2o autocast', 'byol autocast')
    # The published step is always fp32 and contiguous.
    for name, target in (('contiguous', None), ('channels_last', 0.75)):
        text = f'R2O fp32 {name.replace("_", "-")}'
        ratio(f'{text} / published', f'r2o {name}', 'published')
        ratio(f'{text}, C4 of x0 in bf16 / published', f'r2o {name} x0-bf16', 'published', target)
    ratio('R2O bf16 autocast channels-last / published', 'r2o autocast', 'published', 0.45)
    region_share(report, steps['contiguous'], rounds)


def region_share(
    report: Report, step: Step, calls: int, suffix: str = '', target: float | None = None
) -> None:
    """How much of a step is neither networks nor the pass of x0 to C4."""
    cuda, model = report.device == 'cuda', step.model
    whole = report.time(dict(step=step), 3 if cuda else calls, repeat=calls if cuda else 1)
    functions = [
        ('refiner', model.refiner, 'refine'),
        ('c4', model.refiner, '_features'),
        ('points', model.refiner, '_points'),
        ('kmeans', kmeans_refiner, 'fit_kmeans'),
        ('paint', model.refiner, '_paint'),
        ('crops', r2o, 'crop_masks'),
        ('pairs', r2o, 'RegionPairs'),
    ]
    for neck in (model.neck, model.target['neck']):
        functions += [('necks', neck, 'forward'), ('projectors', neck.projector, 'forward')]
    with watch(functions, report.device, report.clock) as readings:
        for _ in range(calls):
            step()
        parts = {name: seconds / calls for name, seconds in readings().items()}
    pooling = parts['necks'] - parts['projectors']
    parts.update(step=median(whole['step']), pooling_backward=pooling_backward(report, step))
    report.details[f'parts{suffix}'] = parts
    names = ('c4', 'points', 'kmeans', 'paint', 'crops', 'pairs', 'pooling_backward')
    shown = ', '.join(f'{name} {1000 * parts[name]:.1f}' for name in names)
    regions = parts['refiner'] - parts['c4'] + parts['crops'] + parts['pairs'] + pooling
    report.add(
        f'regions and clustering / R2O step, C4 not counted{suffix}',
        100 * (regions + parts['pooling_backward']) / parts['step'],
        unit='%',
        target=target,
        note=f'ms: {shown}, pooling {1000 * pooling:.1f}',
    )


def pooling_backward(report: Report, step: Step) -> float:
    """Seconds of the backward pass of pooling and row selection, for both views."""
    valid = step.model.last.valid
    feats = step.model.backbone(step.inputs[0][:1])[-1].detach()
    feats = feats.to(step.autocast or feats.dtype).expand(len(valid), -1, -1, -1).clone()
    feats.requires_grad_()
    masks = valid[:, :, None, None] * torch.rand(
        *valid.shape, *feats.shape[2:], device=feats.device
    )
    rows = valid.flatten().nonzero()[:, 0]
    pooled = mask_pool(feats, masks).flatten(0, 1).index_select(0, rows)
    grad = torch.randn_like(pooled)

    def backward() -> None:
        feats.grad = None
        pooled.backward(grad, retain_graph=True)

    repeat = 20 if report.device == 'cuda' else 1
    return 2 * median(report.time(dict(backward=backward), 3, repeat=repeat)['backward'])


def throughput(
    report: Report, model: Any, size: int, segments: int, rounds: int, args: argparse.Namespace
) -> None:
    """Images per second, share of the regions, peak memory and host waits under AMP on CUDA."""
    inputs, batch, _ = make_batch(size, 224, segments, args.images)
    inputs = [x.cuda().contiguous(memory_format=torch.channels_last) for x in inputs]
    networks = copy.deepcopy(model).to(memory_format=torch.channels_last)
    common = (networks, build_optimizer(networks), inputs, batch.to('cuda'))
    sides = {'BYOL': BYOLStep(*common, autocast=BF16), 'R2O': Step(*common, autocast=BF16)}
    seconds = report.time(sides, rounds, 2, repeat=2 if args.quick else 10)
    report.details[f'seconds at {size}'] = seconds
    for name, side in sides.items():
        report.add(
            f'{name}, batch {size}, bf16 autocast, channels-last',
            size / median(seconds[name]),
            unit='images/s',
            note=f'peak {peak_bytes(side, "cuda") / 2**30:.2f} GiB above the weights',
        )
    byol, ours = (host_waits(side) for side in sides.values())
    report.add(f'host waits a step, R2O, batch {size}', ours, unit='waits', note=f'BYOL {byol}')
    report.ratio(f'R2O / BYOL, batch {size}', seconds, 'R2O', 'BYOL')
    region_share(report, sides['R2O'], 2 if args.quick else 20, f', batch {size}', 3.0)
