"""Training steps of DetCon_B and PixPro against R2O's and BYOL's, on the same networks.

DetCon_B as reproduced sends both views through the networks at once, the authors' one view
after the other; each is compared with R2O doing likewise. On a CPU joined views can take
longer for any method, because glibc's malloc asks the kernel anew for each block above 32 MB.
"""

import argparse
from typing import Any

import torch
from torch import Tensor

from orl_mm.structures import RegionBatch
from orl_mm.superpixels.priors import felzenszwalb

from .timing import Report, median
from .training import (
    MEAN,
    STD,
    BYOLStep,
    Step,
    build_model,
    build_optimizer,
    make_batch,
    region_batch,
)

DETCON = {
    'DetCon_B': 'configs/baselines/detcon-b_r50_in1k.py',
    'DetCon_B paper': 'configs/baselines/detcon-b_paper_r50_in1k.py',
}
PIXPRO = 'configs/baselines/pixpro_r50_in1k.py'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--depth``."""
    parser.add_argument('--depth', type=int, default=50, help='of the ResNet (default: 50)')


def run(args: argparse.Namespace) -> Report:
    """ResNet-50, 224 pixels, fp32, contiguous (``--quick``: far smaller)."""
    quick, device = args.quick, args.device
    size, depth = args.batch or (2 if quick else 8), 18 if quick else args.depth
    segments, rounds = 20 if quick else 100, args.rounds or (1 if quick else 5)
    inputs, slic, origin = make_batch(size, 224, segments, args.images)
    priors = {'SLIC': slic, 'Felzenszwalb': with_felzenszwalb(inputs[2], slic)}
    report = Report(
        'baselines',
        args,
        batch=size,
        depth=depth,
        rounds=rounds,
        images=origin,
        regions={name: sum(b.counts) / size for name, b in priors.items()},
    )
    inputs = [x.to(device) for x in inputs]
    priors = {name: b.to(device) for name, b in priors.items()}
    r2o = build_model(depth=depth, num_clusters=None).to(device)
    optimizer = build_optimizer(r2o)
    detcons = {
        name: share_networks(build_model(config, depth), r2o, mlps=True)
        for name, config in DETCON.items()
    }
    pixpro = share_networks(build_model(PIXPRO, depth).to(device), r2o, mlps=False)
    views = inputs[:2]
    sides = {
        'BYOL': BYOLStep(r2o, optimizer, views, priors['SLIC']),
        'PixPro': Step(pixpro, build_optimizer(pixpro), views, priors['SLIC']),
    }
    for prior, batch in priors.items():
        for name, model in detcons.items():
            sides[f'{name} {prior}'] = Step(model, optimizer, views, batch)
            # R2O without clustering takes the superpixels as masks.
            sides[f'R2O as {name} {prior}'] = Step(
                r2o, optimizer, inputs, batch, joined=model.joined
            )
    repeat = 5 if device == 'cuda' else 1
    seconds = report.time(sides, rounds, repeat=repeat, progress='training steps')
    report.details['seconds'] = seconds
    paper = detcons['DetCon_B paper']

    def masks() -> None:
        paper.draw([paper.view_regions(priors['SLIC'], v, inputs[v], (7, 7)) for v in (0, 1)])

    spent = median(report.time(dict(masks=masks), 5, repeat=10)['masks'])
    report.add(
        'masks of both views: cut, averaged, drawn / step',
        100 * spent / median(seconds['DetCon_B paper SLIC']),
        unit='%',
        note=f'{1000 * spent:.1f} ms',
    )
    for prior in priors:
        for name, model in detcons.items():
            report.ratio(
                f'{name} / R2O without clustering, '
                f'views {"joined" if model.joined else "separate"}, {prior}',
                seconds,
                f'{name} {prior}',
                f'R2O as {name} {prior}',
                target=1.05,
            )
    report.ratio('PixPro / BYOL', seconds, 'PixPro', 'BYOL', target=1.2)
    return report


def share_networks(model: Any, owner: Any, mlps: bool) -> Any:
    """Replace the model's encoders by the owner's; with ``mlps`` projector and predictor too."""
    model.backbone = owner.backbone
    model.target['backbone'] = owner.target['backbone']
    if mlps:
        model.neck.projector = owner.neck.projector
        model.target['neck'].projector = owner.target['neck'].projector
        model.head.predictor = owner.head.predictor
    return model


def with_felzenszwalb(x0: Tensor, batch: RegionBatch) -> RegionBatch:
    """The same images and views with the regions of Felzenszwalb's segmentation (DetCon's)."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    pixels = ((x0 * std + mean) * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return region_batch(batch.views, [felzenszwalb(p) for p in pixels])
