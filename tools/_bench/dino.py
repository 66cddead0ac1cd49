"""DINO's training step against the public code's and lightly's, and guided against not guided."""

import argparse
import logging
from types import SimpleNamespace

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from orl_mm.engine.dino_weights import convert_dino_vit
from orl_mm.engine.hooks import AttentionRegHook, ClipEachGradHook
from orl_mm.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

from .clock import interleave, median, spread
from .lightly_dino import lightly_step
from .published_dino import PublishedStep
from .report import Report
from .steps import ROOT

CONFIG = 'configs/baselines/dino_vits16_in1k.py'
PARTS = ('left_lung', 'right_lung', 'heart')


class DINOStep:
    """Forward, backward, clipping, AdamW and EMA of ``orl_mm.DINO``, guided or not.

    Args:
        model (DINO): Without stochastic depth, which the other side lacks.
        crops (list): (B, 3, H, W) each.
        samples (list): Data samples with templates.
    """

    def __init__(self, model: nn.Module, crops: list[Tensor], samples: list) -> None:
        cfg = Config.fromfile(str(ROOT / CONFIG)).optim_wrapper.to_dict()
        cfg['optimizer']['lr'] = 1e-4
        wrapper = OPTIM_WRAPPER_CONSTRUCTORS.build(
            dict(type=cfg.pop('constructor'), optim_wrapper_cfg=cfg)
        )(model)
        self.model, self.crops, self.samples = model, crops, samples
        self.optimizer, self.hook = wrapper.optimizer, AttentionRegHook()
        self.runner = SimpleNamespace(model=model, optim_wrapper=wrapper)
        ClipEachGradHook(3.0).before_train(self.runner)

    def __call__(self, guided: bool = False) -> None:
        if guided:
            self.hook.before_train(self.runner)
            self.hook.strengths = (1e-3, 1e-3, 0.0)
        losses = self.model(self.crops, self.samples, mode='loss')
        if guided:
            self.hook.after_train(self.runner)
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        self.optimizer.step()
        self.model.update_target(0.996)


def build(quick: bool, device: str) -> nn.Module:
    """The config's model in training mode; with ``quick`` a very small one."""
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(str(ROOT / CONFIG)).model.to_dict()
    cfg['backbone']['drop_path_rate'] = 0.0
    if quick:
        cfg['backbone'].update(
            img_size=64,
            arch=dict(embed_dims=48, num_layers=2, num_heads=6, feedforward_channels=192),
        )
        cfg['head'].update(in_channels=48, out_channels=128)
        cfg['loss'].update(out_channels=128)
    model = MODELS.build(cfg).to(device)
    return model.train()


def make_inputs(batch: int, size: int, device: str) -> tuple:
    """Two global crops of noise and their templates on the patch grid."""
    generator = torch.Generator().manual_seed(0)
    crops = [torch.randn(batch, 3, size, size, generator=generator).to(device) for _ in range(2)]
    samples = []
    for _ in range(batch):
        sample = DataSample()
        k = (torch.rand(2, len(PARTS), size // 16, size // 16, generator=generator) > 0.7).float()
        sample.set_field(k.to(device), 'template')
        sample.set_field(PARTS, 'parts', field_type='metainfo')
        samples.append(sample)
    return crops, samples


def run(args: argparse.Namespace) -> Report:
    """ViT-S/16, 224, 2 global crops, 65,536 prototypes, fp32 (``--quick``: far smaller)."""
    quick, device = args.quick, args.device
    batch, size = args.batch or (2 if quick else 8), 64 if quick else 224
    rounds = args.rounds or (2 if quick else 5)
    logging.disable(logging.INFO)
    crops, samples = make_inputs(batch, size, device)
    torch.manual_seed(0)
    prototypes, narrow = (128, dict(dim=48, depth=2)) if quick else (65536, {})
    theirs = PublishedStep(crops, prototypes, size=size, **narrow)
    lightly = lightly_step(crops, prototypes, **narrow)
    model = build(quick, device)
    gap = _same_weights(model, theirs, crops)
    ours = DINOStep(model, crops, samples)
    report = Report('dino', dict(batch=batch, size=size, crops=2, rounds=rounds, device=device))
    report.add(
        'loss on the same weights: difference to the published step',
        gap,
        unit='of the loss',
        target=1e-5,
    )
    sides = dict(plain=ours, guided=lambda: ours(True), published=theirs)
    if lightly is not None:
        sides['lightly'] = lightly
    seconds = interleave(sides, rounds, 1, device, progress='' if quick else 'steps')
    for other, than, name, text, target in (
        ('guided', 'plain', 'AttentionRegHook on / off', 'guided / plain', 1.02),
        ('plain', 'published', 'this step / the published one', 'ours / published', 1.0),
        ('plain', 'lightly', "this step / lightly's", 'ours / lightly', 1.0),
    ):
        if than not in sides:
            print('lightly is not installed, so its step is left out: pip install lightly')
            continue
        base = seconds[than]
        report.add(
            name,
            median(seconds[other]) / median(base),
            target=target,
            sense='at most',
            note=f'{median(seconds[other]):.3f} s / {median(base):.3f} s, {text}, pairs '
            f'{spread(seconds[other], base)}',
        )
    logging.disable(logging.NOTSET)
    return report


def _same_weights(model: nn.Module, theirs: PublishedStep, crops: list[Tensor]) -> float:
    """Give both sides one set of weights; how far their losses are apart then."""
    backbone, head = theirs.student
    model.backbone.load_state_dict(convert_dino_vit(backbone.state_dict()))
    names = {
        'parametrizations.weight.original0': 'weight_g',
        'parametrizations.weight.original1': 'weight_v',
    }
    weights = {}
    for key, value in head.state_dict().items():
        for old, new in names.items():
            key = key.replace(old, new)
        weights[key] = value
    model.head.load_state_dict(weights)
    model.copy_student_to_teacher()
    with torch.no_grad():
        mine, its = model(crops, mode='loss')['loss'].item(), theirs.loss().item()
    model.criterion.center.zero_()
    theirs.center.zero_()
    return abs(mine - its) / abs(its)
