"""facebookresearch's ViT weights under mmpretrain's names."""

import re
from typing import Dict

from torch import Tensor

# mmpretrain's names for those of facebookresearch/dino (timm's), in order.
_NAMES = (
    (r'^(cls_token|pos_embed)$', r'\1'),
    (r'^patch_embed\.proj\.(weight|bias)$', r'patch_embed.projection.\1'),
    (r'^blocks\.(\d+)\.norm([12])\.(weight|bias)$', r'layers.\1.ln\2.\3'),
    (r'^blocks\.(\d+)\.attn\.(qkv|proj)\.(weight|bias)$', r'layers.\1.attn.\2.\3'),
    (r'^blocks\.(\d+)\.mlp\.fc1\.(weight|bias)$', r'layers.\1.ffn.layers.0.0.\2'),
    (r'^blocks\.(\d+)\.mlp\.fc2\.(weight|bias)$', r'layers.\1.ffn.layers.1.\2'),
    (r'^norm\.(weight|bias)$', r'ln1.\1'),
)


def convert_dino_vit(weights: Dict[str, Dict[str, Tensor]],
                     network: str = 'teacher') -> Dict[str, Tensor]:
    """Rename a ViT of facebookresearch/dino for mmpretrain's ``VisionTransformer``.

    Takes the published backbones (``dino_deitsmall16_pretrain.pth``, ``deit-small`` here)
    and full checkpoints, of which one network's backbone is taken and its head left.

    Args:
        weights (dict): What the file holds: names and tensors, or a full checkpoint with
            entries ``student`` and ``teacher``.
        network (str): Which network of a full checkpoint: ``'teacher'`` or ``'student'``.

    Returns:
        dict: Names without prefix, every one of them from the file.

    Raises:
        ValueError: A name that no part of mmpretrain's ViT answers to, or an unknown network.

    Source: ``vision_transformer.py`` of github.com/facebookresearch/dino.
    """
    if network not in ('teacher', 'student'):
        raise ValueError(f"network must be 'teacher' or 'student', got {network!r}")
    if isinstance(weights.get(network), dict):
        weights = weights[network]
    # A full checkpoint names its parts `module.backbone.` and `module.head.`.
    weights = {re.sub(r'^module\.', '', name): value for name, value in weights.items()}
    if any(name.startswith('backbone.') for name in weights):
        weights = {re.sub(r'^backbone\.', '', name): value for name, value in weights.items()
                   if not name.startswith('head.')}
    converted, unknown = {}, []
    for name, value in weights.items():
        for pattern, replacement in _NAMES:
            if re.match(pattern, name):
                converted[re.sub(pattern, replacement, name)] = value
                break
        else:
            unknown.append(name)
    if unknown or not converted:
        raise ValueError(f'not a ViT of facebookresearch/dino: it has names such as {unknown[:5]} '
                         f'({len(unknown)} unknown of {len(weights)}); XCiT and ResNet weights need '
                         'no or another renaming')
    return converted
