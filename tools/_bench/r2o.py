"""A training step of R2O against plain BYOL's and against the published way of writing it."""

import argparse
import copy

import torch

from orl_mm.models.utils import fit_kmeans, mask_pool

from .batches import make_batch
from .clock import interleave, median, spread
from .memory import peak_bytes
from .published import PublishedStep
from .report import Report
from .spans import r2o_parts, region_seconds, watch
from .steps import BYOLStep, R2OStep, build_model, build_optimizer
from .waits import host_waits

BF16 = torch.bfloat16
FORMATS = dict(contiguous=torch.contiguous_format, channels_last=torch.channels_last)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark alone."""
    group = parser.add_argument_group('r2o')
    group.add_argument(
        '--batches',
        type=int,
        nargs='+',
        help='batch sizes of the throughput on CUDA (default: 32 128)',
    )
    group.add_argument('--depth', type=int, default=50, help='of the ResNet (default: 50)')


def run(args: argparse.Namespace) -> Report:
    """All figures that the device of ``args`` allows."""
    quick = args.quick
    setup = dict(
        batch=args.batch or (2 if quick else 8),
        size=224,
        depth=18 if quick else args.depth,
        clusters=8 if quick else 64,
        segments=20 if quick else 100,
        rounds=args.rounds or (1 if quick else 5),
    )
    report = Report('r2o', dict(setup, device=args.device))
    inputs, batch, origin = make_batch(
        setup['batch'], setup['size'], setup['segments'], args.images
    )
    report.settings['images'] = origin
    inputs = [x.to(args.device) for x in inputs]
    batch = batch.to(args.device)
    model = build_model(setup['depth'], setup['clusters']).to(args.device)
    _steps(report, model, inputs, batch, setup, args.device)
    _precision(report, model, inputs, batch)
    if args.device == 'cuda':
        for size in args.batches or ([4] if quick else [32, 128]):
            _throughput(report, model, setup, size, args)
    return report


def _steps(report: Report, model, inputs, batch, setup, device: str) -> None:
    """Each algorithm in each memory format, measured in turns."""
    sides, plain = {}, copy.deepcopy(model.state_dict())
    models = {name: copy.deepcopy(model).to(memory_format=f) for name, f in FORMATS.items()}
    for name, memory_format in FORMATS.items():
        networks = models[name]
        optimizer = build_optimizer(networks)
        images = [x.contiguous(memory_format=memory_format) for x in inputs]
        common = (networks, optimizer, images, batch)
        sides[f'byol {name}'] = BYOLStep(*common)
        sides[f'r2o {name}'] = R2OStep(*common)
        sides[f'r2o {name} x0-bf16'] = R2OStep(*common, refiner_dtype=BF16)
        if name == 'channels_last':
            sides['byol autocast'] = BYOLStep(*common, autocast=BF16)
            sides['r2o autocast'] = R2OStep(*common, autocast=BF16)
    published = PublishedStep(copy.deepcopy(model), setup['clusters'])
    labels = batch.labels.long()
    sides['published'] = lambda: published(*inputs, labels, batch.views)
    seconds = interleave(
        sides,
        setup['rounds'],
        1,
        device,
        repeat=5 if device == 'cuda' else 1,
        progress='training steps',
    )
    report.details.update(seconds=seconds, roi_align=published.roi_align_name)
    model.load_state_dict(plain)

    def ratio(name, top, bottom, target=None):
        a, b = seconds[top], seconds[bottom]
        report.add(
            name,
            median(a) / median(b),
            target=target if device == 'cpu' else None,
            note=f'{median(a):.3f} s / {median(b):.3f} s, pairs {spread(a, b)}',
        )

    for name in FORMATS:
        text = name.replace('_', '-')
        ratio(f'R2O / BYOL, fp32, {text}', f'r2o {name}', f'byol {name}')
        ratio(
            f'R2O / BYOL, fp32, {text}, C4 of x0 in bf16',
            f'r2o {name} x0-bf16',
            f'byol {name}',
            target=1.08,
        )
    ratio('R2O / BYOL, bf16 autocast, channels-last', 'r2o autocast', 'byol autocast')
    # The published step is fp32 contiguous; what changes is how ours is run.
    ratio('R2O fp32 contiguous / published', 'r2o contiguous', 'published')
    ratio(
        'R2O fp32 contiguous, C4 of x0 in bf16 / published', 'r2o contiguous x0-bf16', 'published'
    )
    ratio('R2O fp32 channels-last / published', 'r2o channels_last', 'published')
    ratio(
        'R2O fp32 channels-last, C4 of x0 in bf16 / published',
        'r2o channels_last x0-bf16',
        'published',
        target=0.75,
    )
    ratio('R2O bf16 autocast channels-last / published', 'r2o autocast', 'published', target=0.45)
    _shares(report, sides['r2o contiguous x0-bf16'], device, '', setup['rounds'])


def _shares(
    report: Report, step: R2OStep, device: str, name: str, calls: int, target: float = None
) -> None:
    """Where a step's time goes."""
    repeat = calls if device == 'cuda' else 1
    seconds = median(
        interleave(dict(step=step), 3 if device == 'cuda' else calls, 1, device, repeat=repeat)[
            'step'
        ]
    )
    with watch(r2o_parts(step.model), device) as readings:
        for _ in range(calls):
            step()
        parts = {part: total / calls for part, total in readings().items()}
    parts.update(step=seconds, pooling_backward=_pooling_backward(step, device))
    report.details[f'parts{name}'] = parts
    regions = region_seconds(parts) + parts['pooling_backward']
    shown = ', '.join(
        f'{part} {1000 * parts[part]:.1f}'
        for part in ('c4', 'points', 'kmeans', 'paint', 'crops', 'pairs', 'pooling_backward')
    )
    report.add(
        f'regions and clustering / R2O step, C4 not counted{name}',
        100 * regions / seconds,
        unit='%',
        target=target,
        note=f'ms: {shown}, pooling {1000 * (parts["necks"] - parts["projectors"]):.1f}',
    )


def _pooling_backward(step: R2OStep, device: str) -> float:
    """Seconds of the backward pass of pooling and row selection, both views, by itself."""
    valid = step.model.last.valid
    feats = step.model.backbone(step.inputs[0][:1])[-1].detach()
    feats = feats.to(step.autocast or feats.dtype).expand(len(valid), -1, -1, -1).clone()
    feats.requires_grad_()
    masks = valid[:, :, None, None] * torch.rand(*valid.shape, *feats.shape[2:], device=device)
    rows = valid.flatten().nonzero()[:, 0]
    pooled = mask_pool(feats, masks).flatten(0, 1).index_select(0, rows)
    grad = torch.randn_like(pooled)

    def backward():
        feats.grad = None
        pooled.backward(grad, retain_graph=True)

    repeat = 20 if device == 'cuda' else 1
    return 2 * median(interleave(dict(backward=backward), 3, 1, device, repeat)['backward'])


def _precision(report: Report, model, inputs, batch, seeds: int = 5) -> None:
    """What bfloat16 in the pass over x0 does to the clusters, beside what a seed does."""
    from sklearn.metrics import adjusted_rand_score

    refiner, encoder, x0 = model.refiner, model.target['backbone'], inputs[2]
    points = {}
    with torch.no_grad():
        for dtype in (None, BF16):
            refiner.dtype = dtype
            feats = refiner._features(encoder, x0, False).float()
            points[dtype] = refiner._points(feats, batch)[0]
        refiner.dtype = None

    def labels(dtype, seed) -> list[int]:
        generator = torch.Generator(x0.device).manual_seed(seed)
        return fit_kmeans(points[dtype], refiner.num_clusters, generator).labels.tolist()

    found: dict[str, list[float]] = dict(bf16=[], seeds=[])
    for seed in range(seeds):
        base = labels(None, seed)
        found['bf16'].append(adjusted_rand_score(base, labels(BF16, seed)))
        found['seeds'].append(adjusted_rand_score(base, labels(None, seed + seeds)))
    report.details['adjusted_rand'] = found
    note = f'mean of {seeds}, random weights, {len(points[None])} regions'
    report.add(
        'same clusters, C4 in bf16 and fp32, same seed (adjusted Rand index)',
        sum(found['bf16']) / seeds,
        note=note,
    )
    report.add(
        'same clusters, fp32 twice, another seed (natural variation)',
        sum(found['seeds']) / seeds,
        note=note,
    )


def _throughput(report: Report, model, setup, size: int, args) -> None:
    """Images a second, share of the regions and peak memory under AMP, on CUDA."""
    inputs, batch, _ = make_batch(size, setup['size'], setup['segments'], args.images)
    inputs = [x.cuda().contiguous(memory_format=torch.channels_last) for x in inputs]
    networks = copy.deepcopy(model).to(memory_format=torch.channels_last)
    common = (networks, build_optimizer(networks), inputs, batch.to('cuda'))
    sides = {'BYOL': BYOLStep(*common, autocast=BF16), 'R2O': R2OStep(*common, autocast=BF16)}
    seconds = interleave(
        sides, setup['rounds'], 2, 'cuda', repeat=2 if args.quick else 10, progress=f'batch {size}'
    )
    report.details[f'seconds at {size}'] = seconds
    for name in sides:
        report.add(
            f'{name}, batch {size}, bf16 autocast, channels-last',
            size / median(seconds[name]),
            unit='images/s',
            note=f'peak {peak_bytes(sides[name], "cuda") / 2**30:.2f} GiB above the weights',
        )
    waits = {name: host_waits(side) for name, side in sides.items()}
    report.add(
        f'host waits a step, R2O, batch {size}',
        waits['R2O'],
        unit='waits',
        note=f'BYOL {waits["BYOL"]}',
    )
    report.add(
        f'R2O / BYOL, batch {size}',
        median(seconds['R2O']) / median(seconds['BYOL']),
        note=f'pairs {spread(seconds["R2O"], seconds["BYOL"])}',
    )
    _shares(report, sides['R2O'], 'cuda', f', batch {size}', 2 if args.quick else 20, target=3.0)
