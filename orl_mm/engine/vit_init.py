"""``init_cfg`` of a ViT as DINO starts it."""

from mmengine.model.weight_init import trunc_normal_, update_init_info
from torch import nn

from orl_mm.registry import WEIGHT_INITIALIZERS


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

    Note:
        mmengine initialises children after their parent, so they count as initialised.
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
            if child is not module and hasattr(child, 'is_init'):
                child.is_init = True
        if getattr(module, 'cls_token', None) is not None:
            trunc_normal_(module.cls_token, std=self.std)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'ViTInit: std={self.std}')
