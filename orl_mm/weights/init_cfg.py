"""``init_cfg`` types: a backbone from a file, and a ViT as DINO starts it."""

from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_, update_init_info
from torch import nn

from orl_mm.registry import WEIGHT_INITIALIZERS

from .architecture import MIN_MATCH
from .load import load_backbone


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """mmengine's ``Pretrained`` for a backbone, with :func:`~.load.load_backbone`'s checks.

    ``backbone=dict(..., init_cfg=dict(type='orl_mm.PretrainedBackbone',
    checkpoint='work_dirs/r2o/epoch_300.pth'))`` in a config of any OpenMMLab package.

    Args:
        checkpoint (str): The file.
        prefix, min_match: See :func:`~.load.load_backbone`.

    Note:
        Backbones look whether the type of their ``init_cfg`` is ``'Pretrained'`` before
        they initialize anything else over it (zero-initialized residuals, position
        embeddings). So the module's ``init_cfg`` is replaced by one of that type.
    """

    def __init__(self, checkpoint: str, prefix: str = 'auto', min_match: float = MIN_MATCH) -> None:
        self.checkpoint, self.prefix, self.min_match = checkpoint, prefix, min_match

    def __call__(self, module: BaseModule) -> None:
        loaded = load_backbone(module, self.checkpoint, self.prefix, self.min_match)
        module.init_cfg = dict(type='Pretrained', checkpoint=self.checkpoint, prefix=loaded.prefix)
        _finish(module, f'PretrainedBackbone: {self.checkpoint}')


@WEIGHT_INITIALIZERS.register_module()
class ViTInit:
    """Truncated normal of deviation ``std`` for linear layers and tokens, biases 0.

    ``backbone=dict(type='VisionTransformer', ..., init_cfg=dict(type='orl_mm.ViTInit'))``.
    mmpretrain's own ViT starts its feed-forward layers from Xavier's distribution, attention
    from torch's and the CLS token from 0. The patch embedding keeps torch's, the position
    embedding mmpretrain's, which are those of the reference too.

    Args:
        std (float): Deviation, truncated at 2 in absolute terms (so never).

    Raises:
        ValueError: ``std`` is not positive.

    Source: ``vision_transformer.py`` of github.com/facebookresearch/dino.
    """

    def __init__(self, std: float = 0.02) -> None:
        if std <= 0:
            raise ValueError(f'std must be positive, got {std}')
        self.std = std

    def __call__(self, module: nn.Module) -> None:
        for child in module.modules():
            if isinstance(child, nn.Linear):
                trunc_normal_(child.weight, std=self.std)
                if child.bias is not None:
                    nn.init.zeros_(child.bias)
            elif isinstance(child, nn.LayerNorm):
                nn.init.ones_(child.weight)
                nn.init.zeros_(child.bias)
        if getattr(module, 'cls_token', None) is not None:
            trunc_normal_(module.cls_token, std=self.std)
        _finish(module, f'ViTInit: std={self.std}')


def _finish(module: BaseModule, info: str) -> None:
    """Keep mmengine from initializing the children, which it does after their parent."""
    for child in module.modules():
        if child is not module and isinstance(child, BaseModule):
            child.is_init = True
    if hasattr(module, '_params_init_info'):
        update_init_info(module, init_info=info)
