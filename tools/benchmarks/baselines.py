"""Training steps of DetCon_B and PixPro against R2O's and BYOL's, on the same networks.

DetCon_B as reproduced sends both views through the networks at once, the authors' one view
after the other; each is compared with R2O doing likewise. On a CPU joined views can take
longer for any method, because glibc's malloc asks the kernel anew for each block above 32 MB.
"""

import argparse
from typing import Any

from .timing import Report
from .training import BYOLStep, Step, build_model, build_optimizer, make_batch

DETCON = {
    'DetCon_B': 'configs/baselines/detcon-b_r50_in1k.py',
    'DetCon_B paper': 'configs/baselines/detcon-b_paper_r50_in1k.py',
}
PIXPRO = 'configs/baselines/pixpro_r50_in1k.py'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--depth', type=int, default=50, help='of the ResNet (default: 50)')


def run(args: argparse.Namespace) -> Report:
    """ResNet-50, 224 pixels, SLIC, fp32, contiguous (``--quick``: far smaller)."""
    quick, device = args.quick, args.device
    size, depth = args.batch or (2 if quick else 8), 18 if quick else args.depth
    segments, rounds = 20 if quick else 100, args.rounds or (1 if quick else 5)
    inputs, batch, origin = make_batch(size, 224, segments, args.images)
    report = Report('baselines', args, batch=size, depth=depth, rounds=rounds, images=origin)
    inputs, batch = [x.to(device) for x in inputs], batch.to(device)
    r2o = build_model(depth=depth, num_clusters=None).to(device)
    optimizer, views = build_optimizer(r2o), inputs[:2]
    pixpro = share_networks(build_model(PIXPRO, depth).to(device), r2o, mlps=False)
    sides = {
        'BYOL': BYOLStep(r2o, optimizer, views, batch),
        'PixPro': Step(pixpro, build_optimizer(pixpro), views, batch),
    }
    detcons = {
        name: share_networks(build_model(config, depth), r2o, mlps=True)
        for name, config in DETCON.items()
    }
    for name, model in detcons.items():
        sides[name] = Step(model, optimizer, views, batch)
        # R2O without clustering takes the superpixels as masks.
        sides[f'R2O as {name}'] = Step(r2o, optimizer, inputs, batch, joined=model.joined)
    repeat = 5 if device == 'cuda' else 1
    seconds = report.time(sides, rounds, repeat=repeat, progress='training steps')
    report.details['seconds'] = seconds
    for name, model in detcons.items():
        views_are = 'joined' if model.joined else 'separate'
        title = f'{name} / R2O without clustering, views {views_are}'
        report.ratio(title, seconds, name, f'R2O as {name}', target=1.05)
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
