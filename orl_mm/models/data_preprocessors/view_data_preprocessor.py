"""Views of images, from collated batches to normalized tensors on the device."""

from mmpretrain.models import SelfSupDataPreprocessor
from torch import Tensor

from orl_mm.registry import MODELS

from .photometry import distort_views


@MODELS.register_module()
class ViewDataPreprocessor(SelfSupDataPreprocessor):
    """``SelfSupDataPreprocessor`` that does not wait for the device.

    The stock class swaps channels through an index list and copies each tensor of each data sample
    on its own; on a GPU both wait. Here data samples stay on the host, and who needs them moves
    what it stacks.

    Args:
        See mmpretrain's ``SelfSupDataPreprocessor``.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """
        Args:
            data (dict): ``inputs``, a list of V tensors (B, 3, H, W) uint8, after which there may
                be the operations of ``MultiViewWithGeometry(backend='device')``, and
                ``data_samples``.
            training (bool): Not used.

        Returns:
            dict: Normalized ``inputs`` and the same ``data_samples``.
        """
        inputs = data['inputs']
        if isinstance(inputs, Tensor):
            return dict(data, inputs=self._normalize(inputs))
        images = distort_views(inputs, self.device, self._non_blocking)
        return dict(data, inputs=[self._normalize(image) for image in images])

    def _normalize(self, image: Tensor) -> Tensor:
        image = image.to(self.device, non_blocking=self._non_blocking)
        if self._channel_conversion:
            image = image.flip(1)
        image = image.float()
        return (image - self.mean) / self.std if self._enable_normalize else image
