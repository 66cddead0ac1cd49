"""A feature pyramid, merged into one map of pixel features."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from orl_mm.registry import MODELS


@MODELS.register_module()
class PyramidDecoder(BaseModule):
    """FPN with the semantic branch of panoptic FPN, as VADeR's decoder.

    Each level of the pyramid goes through blocks of 3 x 3 convolution, group norm, ReLU and
    bilinear doubling until it has the resolution of the finest one (which has one block
    without doubling); the levels are summed, and a 1 x 1 convolution follows.

    Args:
        in_channels (sequence): Channels of the backbone's stages, the finest first.
        pyramid_channels (int): Channels of the pyramid.
        out_channels (int): D, of the blocks and of the pixel features.
        num_groups (int): Groups of the group norms.
        init_cfg (dict, optional): See mmengine's ``BaseModule``.

    Raises:
        ValueError: Fewer than two stages, or channels that the groups do not divide.

    Source: Kirillov et al. 2019 (arXiv 1901.02446), section 3.1; FPN: torchvision's.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (256, 512, 1024, 2048),
        pyramid_channels: int = 256,
        out_channels: int = 128,
        num_groups: int = 32,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if len(in_channels) < 2:
            raise ValueError(f'a pyramid needs two stages or more, got {tuple(in_channels)}')
        if num_groups < 1 or out_channels % num_groups:
            raise ValueError(
                f'num_groups must divide out_channels={out_channels}, got {num_groups}'
            )
        self.in_channels, self.out_channels = tuple(in_channels), out_channels
        self.pyramid = FeaturePyramidNetwork(list(in_channels), pyramid_channels)
        self.branches = nn.ModuleList(
            nn.ModuleList(
                ConvModule(
                    pyramid_channels if i == 0 else out_channels,
                    out_channels,
                    3,
                    padding=1,
                    norm_cfg=dict(type='GN', num_groups=num_groups),
                )
                for i in range(max(1, level))
            )
            for level in range(len(in_channels))
        )
        self.last = nn.Conv2d(out_channels, out_channels, 1)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor]:
        """
        Args:
            feats (sequence): (B, C_l, h_l, w_l) of each stage, the finest first.

        Returns:
            tuple: One (B, D, h_0, w_0).
        """
        if len(feats) != len(self.in_channels):
            raise ValueError(
                f'PyramidDecoder was built for {len(self.in_channels)} stages and '
                f'got {len(feats)}: let the backbone give them all, '
                f'out_indices={tuple(range(len(self.in_channels)))}'
            )
        levels = list(self.pyramid({str(i): x for i, x in enumerate(feats)}).values())
        # By the size of the next finer level rather than by 2, so that odd ones fit.
        sizes = [x.shape[-2:] for x in levels]
        merged = 0
        for level, (x, blocks) in enumerate(zip(levels, self.branches, strict=False)):
            for i, block in enumerate(blocks.children()):
                x = block(x)
                if level:
                    x = F.interpolate(
                        x, size=sizes[level - i - 1], mode='bilinear', align_corners=False
                    )
            merged = merged + x
        return (self.last(merged),)
