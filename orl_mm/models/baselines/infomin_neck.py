"""The shuffled crops of an image, projected together."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from orl_mm.registry import MODELS


@MODELS.register_module()
class JigsawNeck(BaseModule):
    """Project each crop, concatenate those of an image, and map them to one vector.

    The jigsaw head of PIRL (Misra and van der Maaten 2020, section 3.3) as InfoMin has it.
    The crops of an image stand in random order already, see ``JigsawCrops``.

    Args:
        crop_neck (dict): Projects the features of a crop, ``((B * n, C, h, w), )`` to
            ``((B * n, E), )``, such as mmpretrain's ``MoCoV2Neck``.
        crop_channels (int): E.
        out_channels (int): D, of an image.
        num_crops (int): n, crops of an image.
        init_cfg (dict, optional): See mmengine's ``BaseModule``.

    Raises:
        ValueError: A number below 1.

    Source: ``JigsawHead`` in ``networks/util.py`` of github.com/HobbitLong/PyContrast.
    """

    def __init__(
        self,
        crop_neck: dict,
        crop_channels: int = 128,
        out_channels: int = 128,
        num_crops: int = 9,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if min(crop_channels, out_channels, num_crops) < 1:
            raise ValueError(
                'crop_channels, out_channels and num_crops must be at least 1, got '
                f'{crop_channels}, {out_channels} and {num_crops}'
            )
        self.num_crops = num_crops
        self.crop_neck = MODELS.build(crop_neck)
        self.merge = nn.Linear(num_crops * crop_channels, out_channels)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor]:
        """
        Args:
            feats (sequence): The last is used, (B * n, C, h, w), image after image.

        Returns:
            tuple: One (B, D).
        """
        crops = self.crop_neck((feats[-1],))[-1]
        return (self.merge(crops.unflatten(0, (-1, self.num_crops)).flatten(1)),)
