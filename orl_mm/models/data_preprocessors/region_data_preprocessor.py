"""Move a batch with its regions to the device in as few copies as there are tensors."""

from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch

from .view_data_preprocessor import ViewDataPreprocessor


@MODELS.register_module()
class RegionDataPreprocessor(ViewDataPreprocessor):
    """``ViewDataPreprocessor`` whose data samples become one :class:`RegionBatch` on the device.

    Label maps and boxes are stacked on the host, and nothing waits with ``non_blocking``.

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
            dict: Normalized ``inputs`` and ``data_samples``, a RegionBatch.
        """
        samples: list | RegionBatch = data['data_samples']
        if not isinstance(samples, RegionBatch):
            samples = RegionBatch.from_samples(samples)
        moved = samples.to(self.device, self._non_blocking)
        return dict(super().forward(data, training), data_samples=moved)
