"""DINO's training step against the public code's, and guided against not guided."""

import argparse
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from orl_mm.engine.hooks import AttentionRegHook, ClipEachGradHook
from orl_mm.registry import MODELS
from orl_mm.weights.names import DINO_VIT

from .reference.dino import PublishedStep
from .timing import Report
from .training import ROOT, quiet

CONFIG = 'configs/baselines/dino_vits16_in1k.py'
PARTS = ('left_lung', 'right_lung', 'heart')


class DINOStep:
    """Forward, backward, clipping, AdamW and EMA of ``orl_mm.DINO``, guided or not.

    Args:
        model (DINO): Without stochastic depth, which the other steps do not have.
        crops (list): (B, 3, H, W) each.
        samples (list): Data samples with templates.
    """

    def __init__(self, model: Any, crops: list[Tensor], samples: list) -> None:
        cfg = Config.fromfile(str(ROOT / CONFIG)).optim_wrapper
        cfg.optimizer.lr = 1e-4
        wrapper = build_optim_wrapper(model, cfg)
        self.model, self.crops, self.samples = model, crops, samples
        self.optimizer, self.hook = wrapper.optimizer, AttentionRegHook()
        self.runner = SimpleNamespace(  # what the hooks read of a run, here of one iteration
            model=model,
            optim_wrapper=wrapper,
            train_loop=None,
            train_dataloader=DataLoader(TensorDataset(torch.zeros(1))),
            max_iters=1,
        )
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


def run(args: argparse.Namespace) -> Report:
    """ViT-S/16, 224, 2 global crops, 65,536 prototypes, fp32 (``--quick``: far smaller)."""
    quick, device = args.quick, args.device
    batch, size = args.batch or (2 if quick else 8), 64 if quick else 224
    rounds = args.rounds or (2 if quick else 5)
    prototypes, narrow = (128, dict(dim=48, depth=2)) if quick else (65536, {})
    report = Report('dino', args, batch=batch, size=size, crops=2, rounds=rounds)
    with quiet():
        crops, samples = make_inputs(batch, size, device)
        torch.manual_seed(0)
        published = PublishedStep(crops, prototypes, size=size, **narrow)
        model = build(quick, device)
        report.add(
            'loss on the same weights: difference to the published step',
            copy_weights(model, published, crops),
            unit='of the loss',
            target=1e-5,
        )
        ours = DINOStep(model, crops, samples)
        sides: dict[str, Any] = dict(plain=ours, guided=lambda: ours(True), published=published)
        seconds = report.time(sides, rounds, progress='' if quick else 'training steps')
    report.ratio('AttentionRegHook on / off', seconds, 'guided', 'plain', target=1.02)
    report.ratio('this step / the published one', seconds, 'plain', 'published', target=1.0)
    return report


def build(quick: bool, device: str) -> Any:
    """The config's model in training mode; with ``quick`` a very small one."""
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(str(ROOT / CONFIG)).model
    cfg.backbone.drop_path_rate = 0.0
    if quick:
        arch = dict(embed_dims=48, num_layers=2, num_heads=6, feedforward_channels=192)
        cfg.backbone.update(img_size=64, arch=arch)
        cfg.head.update(in_channels=48, out_channels=128)
        cfg.loss.update(out_channels=128)
    return MODELS.build(cfg).to(device).train()


def make_inputs(batch: int, size: int, device: str) -> tuple[list[Tensor], list[DataSample]]:
    """Two global crops of noise, and random templates on the patch grid."""
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


def copy_weights(model: Any, published: PublishedStep, crops: list[Tensor]) -> float:
    """Give our model the published one's weights; the relative difference of their losses then."""
    backbone, head = published.student
    vit = {DINO_VIT.to_ours(name): value for name, value in backbone.state_dict().items()}
    model.backbone.load_state_dict(vit)
    new = 'parametrizations.weight.original'
    weights = {
        key.replace(f'{new}0', 'weight_g').replace(f'{new}1', 'weight_v'): value
        for key, value in head.state_dict().items()
    }
    model.head.load_state_dict(weights)
    model.teacher.copy_from(model)
    with torch.no_grad():
        ours, theirs = model(crops, mode='loss')['loss'].item(), published.loss().item()
    model.criterion.center.zero_()
    published.center.zero_()
    return abs(ours - theirs) / abs(theirs)
