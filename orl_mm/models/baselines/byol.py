"""mmpretrain's BYOL, whose target network follows without waiting for the device."""

import mmpretrain.models
from torch import nn

from orl_mm.models.utils.host_counted_ema import HostCountedCosineEMA
from orl_mm.registry import MODELS


@MODELS.register_module()
class BYOL(mmpretrain.models.BYOL):
    """mmpretrain's ``BYOL`` with its values and its state dict.

    Args:
        **kwargs: See mmpretrain's ``BYOL``.
    """

    def __init__(self, *args, base_momentum: float = 0.004, **kwargs) -> None:
        super().__init__(*args, base_momentum=base_momentum, **kwargs)
        online = nn.Sequential(self.backbone, self.neck)
        self.target_net = HostCountedCosineEMA(online, momentum=base_momentum)
