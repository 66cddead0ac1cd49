"""Find objects as R2O does, with the features of any network, outside of training."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from orl_mm.registry import MODELS
from orl_mm.weights import load_backbone

from .cli import UserError


def build_finder(cfg: Config) -> nn.Module:
    """The config's R2O with its initial weights, in training mode.

    Raises:
        UserError: A model that finds no objects.
    """
    model = dict(cfg.model)
    if 'data_preprocessor' not in model and 'data_preprocessor' in cfg:
        model['data_preprocessor'] = cfg.data_preprocessor
    model = MODELS.build(model)
    if not hasattr(model, 'find_objects'):
        raise UserError(
            f'{cfg.filename}: {type(model).__name__} has no refiner and finds '
            'no objects, and its backbone no attention; take a config of '
            'orl_mm.R2O or with a ViT'
        )
    model.init_weights()
    return model.train()  # norms that training freezes are frozen here too


def load_features(model: Any, path: str | Path) -> bool:
    """Give R2O the encoder of a checkpoint, of R2O or of any other method.

    The target network clusters, if the checkpoint has one; else a copy of the encoder does.

    Returns:
        bool: Whether the checkpoint's own target network clusters.

    Raises:
        ValueError: See :func:`~orl_mm.weights.load_backbone`.
    """
    found = load_backbone(model.backbone, path)
    if model.target is None:
        return False
    model.target.copy_from(model)
    if found.prefix == 'backbone.':
        try:
            load_backbone(model.target['backbone'], path, prefix='target.backbone.')
            return True
        except ValueError:
            pass
    return False
