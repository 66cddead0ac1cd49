"""DINO's projection head with weight-normalized prototypes."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from orl_mm.registry import MODELS


@MODELS.register_module()
class DINOHead(BaseModule):
    """Perceptron with a bottleneck, l2-normalized, against prototypes of unit length.

    Linear-GELU layers (2048-2048-256 by default), then the cosine to each of
    ``out_channels`` prototypes, whose length :math:`g` stays 1 with
    ``norm_last_layer``. Linear weights of the perceptron start from a truncated normal
    of deviation 0.02, its biases from 0, prototypes from torch's default.

    Parameter names are those of facebookresearch/dino: ``mlp.0`` ..., and
    ``last_layer.weight_g`` (K, 1), ``last_layer.weight_v`` (K, bottleneck).

    Args:
        in_channels (int): Width of the backbone's feature, 384 for ViT-S.
        out_channels (int): K, the prototypes.
        hid_channels (int): Width of the hidden layers.
        bottleneck_channels (int): Width before the prototypes.
        num_layers (int): Linear layers up to the bottleneck.
        with_bn (bool): Batch norm in the hidden layers.
        norm_last_layer (bool): Keep g at 1. The reference trains it (False) for ViT-S on
            ImageNet, which may be unstable.

    Raises:
        ValueError: A number of layers or channels below 1.

    Source: arXiv 2104.14294, section 3.1 and appendix C; ``vision_transformer.py`` of
    github.com/facebookresearch/dino.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 65536,
        hid_channels: int = 2048,
        bottleneck_channels: int = 256,
        num_layers: int = 3,
        with_bn: bool = False,
        norm_last_layer: bool = True,
    ) -> None:
        super().__init__()
        sizes = dict(
            in_channels=in_channels,
            out_channels=out_channels,
            hid_channels=hid_channels,
            bottleneck_channels=bottleneck_channels,
            num_layers=num_layers,
        )
        if min(sizes.values()) < 1:
            raise ValueError(f'every size of DINOHead must be at least 1, got {sizes}')
        self.out_channels = out_channels
        widths = [in_channels] + [hid_channels] * (num_layers - 1) + [bottleneck_channels]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            linear = nn.Linear(before, after)
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
            layers.append(linear)
            if i < num_layers - 1:
                layers += [nn.BatchNorm1d(after), nn.GELU()] if with_bn else [nn.GELU()]
        self.mlp = nn.Sequential(*layers)
        self.last_layer = _Prototypes(bottleneck_channels, out_channels)
        self.last_layer.weight_g.requires_grad_(not norm_last_layer)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels) -> (B, K), cosines (times g)."""
        return self.last_layer(F.normalize(self.mlp(x), dim=-1))


class _Prototypes(nn.Module):
    """x -> x W^T with rows W = g v / |v|.

    Not ``torch.nn.utils.weight_norm``: that one stores W as an attribute, which
    ``deepcopy`` refuses, and the teacher is a copy.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight_v = nn.Parameter(nn.Linear(in_channels, out_channels, bias=False).weight.data)
        self.weight_g = nn.Parameter(torch.ones(out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, torch._weight_norm(self.weight_v, self.weight_g, 0))
