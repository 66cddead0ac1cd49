"""``init_cfg`` that loads a backbone or stops."""

from mmengine.model.weight_init import update_init_info
from torch import nn

from orl_mm.registry import WEIGHT_INITIALIZERS

from .load_backbone import load_backbone


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """As mmengine's ``Pretrained``, for a backbone, with :func:`load_backbone`'s checks.

    ``backbone=dict(..., init_cfg=dict(type='orl_mm.PretrainedBackbone',
    checkpoint='work_dirs/r2o/epoch_300.pth'))`` in a config of any OpenMMLab
    package: at least 99% of the backbone's tensors must be in the file.

    Args:
        checkpoint (str): The file.
        prefix (str): See :func:`~orl_mm.engine.load_backbone.load_backbone`.
        min_match (float): See there.

    Note:
        Backbones ask whether their ``init_cfg`` is ``'Pretrained'`` before they
        initialise anything else over it (zero-initialised residuals, position
        embeddings), and mmengine initialises children after their parent. So
        the module's ``init_cfg`` is stated in those words, and its children
        count as initialised.
    """

    def __init__(self, checkpoint: str, prefix: str = 'auto', min_match: float = 0.99) -> None:
        self.checkpoint, self.prefix, self.min_match = checkpoint, prefix, min_match

    def __call__(self, module: nn.Module) -> None:
        loaded = load_backbone(module, self.checkpoint, self.prefix, self.min_match)
        for child in module.modules():
            if child is not module and hasattr(child, 'is_init'):
                child.is_init = True
        module.init_cfg = dict(type='Pretrained', checkpoint=self.checkpoint, prefix=loaded.prefix)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'PretrainedBackbone: {self.checkpoint}')
