"""Images to a probe, or features that were computed before."""

from mmpretrain.models import ClsDataPreprocessor

from orl_mm.registry import MODELS


@MODELS.register_module()
class ProbeDataPreprocessor(ClsDataPreprocessor):
    """``ClsDataPreprocessor``, which lets features (B, D) through as they are."""

    def forward(self, data: dict, training: bool = False) -> dict:
        """
        Args:
            data (dict): ``inputs``: images (B, 3, H, W) uint8 or a list of them, or features
                (B, D); ``data_samples``: a list of B samples.
            training (bool): See ``ClsDataPreprocessor``.

        Returns:
            dict: The same, on the device; images are normalized.
        """
        inputs = data['inputs']
        if getattr(inputs, 'ndim', 0) != 2:
            return super().forward(data, training)
        # Labels stay where they are: the model stacks them and moves them in one copy.
        return dict(data, inputs=self.cast_data(inputs))
