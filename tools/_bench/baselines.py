"""Training steps of the baselines on BYOL's networks, against R2O's and BYOL's own.

DetCon_B as reproduced sends both views through the networks at once, as its authors' one view
after the other; each is compared with R2O doing likewise. On a CPU the first may take longer
for any method: activations above 32 MB come fresh from the kernel each time (glibc's malloc).
"""

import argparse
import logging

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch
from orl_mm.superpixels.priors import felzenszwalb

from .batches import MEAN, STD, make_batch
from .clock import interleave, median, spread
from .report import Report
from .steps import ROOT, BYOLStep, R2OStep, Step, build_model, build_optimizer, plain_norms

DETCON = {
    'DetCon_B': 'configs/baselines/detcon-b_r50_in1k.py',
    'DetCon_B paper': 'configs/baselines/detcon-b_paper_r50_in1k.py',
}
PIXPRO = 'configs/baselines/pixpro_r50_in1k.py'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark alone."""
    group = parser.add_argument_group('baselines')
    group.add_argument('--depth', type=int, default=50, help='of the ResNet (default: 50)')


class TwoViewStep(Step):
    """A model that looks at two views and not at x0."""

    def loss(self) -> Tensor:
        return self.model.loss(self.inputs[:2], self.batch)['loss']


class UnclusteredStep(R2OStep):
    """R2O whose superpixels are the masks; ``joined`` is its ``views='joined'``."""

    def __init__(self, *args, joined: bool, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.joined = joined

    def loss(self) -> Tensor:
        self.model.joined = self.joined
        return super().loss()


def run(args: argparse.Namespace) -> Report:
    """The figures; every side trains the same backbone, the same MLPs where it has them."""
    quick = args.quick
    setup = dict(
        batch=args.batch or (2 if quick else 8),
        size=224,
        depth=18 if quick else args.depth,
        segments=20 if quick else 100,
        rounds=args.rounds or (1 if quick else 5),
    )
    report = Report('baselines', dict(setup, device=args.device, memory='contiguous, fp32'))
    inputs, slic, origin = make_batch(setup['batch'], setup['size'], setup['segments'], args.images)
    batches = {'SLIC': slic, 'Felzenszwalb': with_felzenszwalb(inputs[2], slic)}
    report.settings.update(
        images=origin, regions={name: sum(b.counts) / len(b.counts) for name, b in batches.items()}
    )
    inputs = [x.to(args.device) for x in inputs]
    batches = {name: b.to(args.device) for name, b in batches.items()}

    r2o = build_model(setup['depth'], None).to(args.device)
    optimizer, models = build_optimizer(r2o), {}
    for name, config in DETCON.items():
        models[name] = share_networks(build(config, setup['depth']), r2o, mlps=True)
    pixpro = share_networks(build(PIXPRO, setup['depth']).to(args.device), r2o, mlps=False)
    sides = {
        'BYOL': BYOLStep(r2o, optimizer, inputs, batches['SLIC']),
        'PixPro': TwoViewStep(pixpro, build_optimizer(pixpro), inputs, batches['SLIC']),
    }
    for prior, batch in batches.items():
        for name, model in models.items():
            sides[f'{name} {prior}'] = TwoViewStep(model, optimizer, inputs, batch)
            sides[f'R2O as {name} {prior}'] = UnclusteredStep(
                r2o, optimizer, inputs, batch, joined=model.joined
            )
    seconds = interleave(
        sides,
        setup['rounds'],
        1,
        args.device,
        repeat=5 if args.device == 'cuda' else 1,
        progress='training steps',
    )
    report.details['seconds'] = seconds
    _masks(
        report,
        models['DetCon_B paper'],
        inputs,
        batches['SLIC'],
        args.device,
        median(seconds['DetCon_B paper SLIC']),
    )

    def ratio(name: str, top: str, bottom: str, target: float) -> None:
        a, b = seconds[top], seconds[bottom]
        report.add(
            name,
            median(a) / median(b),
            target=target,
            note=f'{median(a):.3f} s / {median(b):.3f} s, pairs {spread(a, b)}',
        )

    for prior in batches:
        for name in models:
            views = 'views joined' if models[name].joined else 'views separate'
            ratio(
                f'{name} / R2O without clustering, {views}, {prior}',
                f'{name} {prior}',
                f'R2O as {name} {prior}',
                1.05,
            )
    ratio('PixPro / BYOL', 'PixPro', 'BYOL', 1.2)
    return report


def _masks(
    report: Report,
    detcon: nn.Module,
    inputs: list[Tensor],
    batch: RegionBatch,
    device: str,
    step: float,
) -> None:
    """What the regions of both views and their draws take, alone."""

    def masks():
        detcon.draw([detcon.view_regions(batch, v, inputs[v], (7, 7)) for v in (0, 1)])

    seconds = median(interleave(dict(masks=masks), 5, 1, device, repeat=10)['masks'])
    report.add(
        'masks of both views: cut, averaged, drawn / step',
        100 * seconds / step,
        unit='%',
        note=f'{1000 * seconds:.1f} ms',
    )


def build(config: str, depth: int) -> nn.Module:
    """The model of a config, freshly initialised, in training mode."""
    torch.manual_seed(0)
    cfg = plain_norms(Config.fromfile(str(ROOT / config)).model.to_dict())
    cfg['backbone']['depth'] = depth
    neck = cfg['neck'].get('projector', cfg['neck'])
    neck['in_channels'] = 2048 if depth >= 50 else 512
    model = MODELS.build(cfg)
    logging.disable(logging.INFO)
    try:
        model.init_weights()
    finally:
        logging.disable(logging.NOTSET)
    return model.train()


def share_networks(model: nn.Module, owner: nn.Module, mlps: bool) -> nn.Module:
    """Put the owner's networks in place of the model's own.

    Args:
        model (nn.Module): With ``backbone``, ``neck``, ``head.predictor`` and ``target``.
        owner (nn.Module): The same.
        mlps (bool): Projector and predictor too; else the encoders alone.
    """
    model.backbone = owner.backbone
    model.target['backbone'] = owner.target['backbone']
    if mlps:
        model.neck.projector = owner.neck.projector
        model.target['neck'].projector = owner.target['neck'].projector
        model.head.predictor = owner.head.predictor
    return model


def with_felzenszwalb(x0: Tensor, batch: RegionBatch) -> RegionBatch:
    """The same images and views with DetCon's regions (its scale and smallest size)."""
    pixels = ((x0 * STD + MEAN) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    maps: list[np.ndarray] = [felzenszwalb(np.ascontiguousarray(p)) for p in pixels]
    return RegionBatch(
        batch.views,
        torch.stack([torch.from_numpy(m).byte() for m in maps]),
        [int(m.max()) + 1 for m in maps],
    )
