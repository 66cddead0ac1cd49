"""R2O's training step and image-level BYOL's, on one and the same set of networks."""

import logging
from abc import ABC, abstractmethod
from contextlib import nullcontext
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from orl_mm.models.utils import byol_distance
from orl_mm.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from orl_mm.structures import RegionBatch

ROOT = Path(__file__).resolve().parents[2]


def plain_norms(node):
    """A config with BN in place of SyncBN, which an only process does not need."""
    if isinstance(node, dict):
        node = {k: plain_norms(v) for k, v in node.items()}
        if node.get('type') == 'SyncBN':
            node['type'] = 'BN'
        if node.get('type') == 'NonLinearNeck':
            node.setdefault('norm_cfg', dict(type='BN1d'))
        return node
    if isinstance(node, (list, tuple)):
        return type(node)(plain_norms(v) for v in node)
    return node


def build_model(
    depth: int = 50,
    num_clusters: int = 64,
    seed: int = 0,
    config: str = 'configs/_base_/models/r2o_r50.py',
) -> nn.Module:
    """R2O of a config, freshly initialised, in training mode."""
    init_default_scope('mmpretrain')
    torch.manual_seed(seed)
    cfg = plain_norms(Config.fromfile(str(ROOT / config)).model.to_dict())
    cfg['backbone']['depth'] = depth
    cfg['refiner']['num_clusters'] = num_clusters
    cfg['neck']['projector']['in_channels'] = 2048 if depth >= 50 else 512
    model = MODELS.build(cfg)
    logging.disable(logging.INFO)  # mmengine names every parameter it initialises
    try:
        model.init_weights()
    finally:
        logging.disable(logging.NOTSET)
    return model.train()


def build_optimizer(model: nn.Module, lr: float = 0.01) -> torch.optim.Optimizer:
    """The optimiser of the schedule's config; ``lr`` small: the labels here mean nothing."""
    path = ROOT / 'configs/_base_/schedules/lars_300e.py'
    cfg = Config.fromfile(str(path)).optim_wrapper.to_dict()
    cfg['optimizer']['lr'] = lr
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type=cfg.pop('constructor'),
            optim_wrapper_cfg=cfg,
            paramwise_cfg=cfg.pop('paramwise_cfg', None),
        )
    )
    return constructor(model).optimizer


class Step(ABC):
    """Forward, backward, optimiser and EMA.

    Args:
        model (nn.Module): An ``R2O`` model.
        optimizer (torch.optim.Optimizer): Its optimiser.
        inputs (list): x1, x2, x0, (B, 3, H, W) each.
        batch (RegionBatch): Superpixels and view boxes.
        autocast (torch.dtype, optional): Run the forward pass under autocast.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        inputs: list[Tensor],
        batch: RegionBatch,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.inputs, self.batch, self.autocast = inputs, batch, autocast

    @abstractmethod
    def loss(self) -> Tensor:
        """The scalar to minimise."""

    def __call__(self) -> None:
        device = self.inputs[0].device.type
        cast = nullcontext() if self.autocast is None else torch.autocast(device, self.autocast)
        with cast:
            loss = self.loss()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.model.update_target(0.99)


class R2OStep(Step):
    """``refiner_dtype`` is the precision of the pass over x0, see ``KMeansRefiner``."""

    def __init__(self, *args, refiner_dtype: torch.dtype | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.refiner_dtype = refiner_dtype

    def loss(self) -> Tensor:
        self.model.refiner.dtype = self.refiner_dtype
        return self.model.loss(self.inputs, self.batch)['loss']


class BYOLStep(Step):
    """The same networks with global pooling; x0 is not looked at."""

    def loss(self) -> Tensor:
        model, views = self.model, self.inputs[:2]
        online = [model.head.predictor(model.neck(model.backbone(x)))[0] for x in views]
        with torch.no_grad():
            target = [model.target['neck'](model.target['backbone'](x))[0] for x in views]
        return sum(byol_distance(p, t).mean() for p, t in zip(online, target[::-1], strict=False))
