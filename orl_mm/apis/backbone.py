from collections import OrderedDict
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from orl_mm.registry import MODELS
from orl_mm.weights import load_backbone

from .base import quiet, read_config, warn_of_random_weights


class StagedBackbone(nn.Module):
    """A backbone that returns its outputs by name.

    Outputs are named ``stage1`` and so on by the network's ``out_indices``, or in their order.

    Attributes:
        backbone (nn.Module): The network of the config.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> 'OrderedDict[str, Tensor]':
        """Images (B, 3, H, W), normalized as in the config, to outputs by name."""
        outputs = self.backbone(x)
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        indices = getattr(self.backbone, 'out_indices', range(len(outputs)))
        return OrderedDict((f'stage{i + 1}', out) for i, out in zip(indices, outputs, strict=True))


def get_backbone(
    config_or_name: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
) -> StagedBackbone:
    """The pretrained network of a config, in evaluation mode.

    Args:
        config_or_name: See :func:`~orl_mm.apis.base.read_config`. Any config whose model has a
            ``backbone``.
        checkpoint (str, optional): Any file that :func:`~orl_mm.weights.load_backbone` reads; of
            DINO's checkpoints the teacher is taken. None: random weights, with a warning.
        device (str, optional): Default: a GPU where there is one.

    Returns:
        StagedBackbone: Without gradients switched off; call it under ``torch.no_grad()``.

    Raises:
        ValueError: A model without a backbone, or a checkpoint that does not fit.
    """
    cfg = read_config(config_or_name)
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    if 'backbone' not in cfg.get('model', {}):
        raise ValueError(f'{config_or_name} has no model with a backbone')
    backbone = MODELS.build(cfg.model['backbone'])
    with quiet():
        if checkpoint is None:
            backbone.init_weights()
            warn_of_random_weights(backbone)
        else:
            load_backbone(backbone, checkpoint, prefix='evaluated')
    return StagedBackbone(backbone).to(device or get_device()).eval()
