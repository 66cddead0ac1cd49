"""Move a batch with its regions to the device in as few copies as there are tensors."""

import torch
from mmpretrain.models import SelfSupDataPreprocessor
from torch import Tensor

from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch


@MODELS.register_module()
class RegionDataPreprocessor(SelfSupDataPreprocessor):
    """``SelfSupDataPreprocessor`` whose data samples become one :class:`RegionBatch`.

    The stock class copies each sample's tensors on their own and swaps channels
    through an index list; on a GPU both wait for the device. Here label maps and
    boxes are stacked on the host, and nothing waits with ``non_blocking``.

    Args:
        See mmpretrain's ``SelfSupDataPreprocessor``.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """
        Args:
            data (dict): ``inputs``, a list of V tensors (B, 3, H, W) uint8, and
                ``data_samples``, a list of B samples (or a RegionBatch).
            training (bool): Not used.

        Returns:
            dict: Normalised ``inputs`` and ``data_samples``, a RegionBatch.
        """
        samples: list | RegionBatch = data['data_samples']
        if not isinstance(samples, RegionBatch):
            samples = RegionBatch.from_samples(samples)
        inputs = [self._normalise(image) for image in data['inputs']]
        return dict(inputs=inputs, data_samples=samples.to(self.device, self._non_blocking))

    def _normalise(self, image: Tensor) -> Tensor:
        image = image.to(self.device, non_blocking=self._non_blocking)
        if self._channel_conversion:
            image = image.flip(1)
        image = image.to(torch.float32)
        return (image - self.mean) / self.std if self._enable_normalize else image
