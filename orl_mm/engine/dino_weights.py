"""facebookresearch's ViT weights under mmpretrain's names."""

import re

from torch import Tensor

from .weights.layouts import DINO_VIT


def convert_dino_vit(
    weights: dict[str, dict[str, Tensor]], network: str = 'teacher'
) -> dict[str, Tensor]:
    """Rename a ViT of facebookresearch/dino for mmpretrain's ``VisionTransformer``.

    Takes the published backbones (``dino_deitsmall16_pretrain.pth``, ``deit-small`` here)
    and full checkpoints, of which one network's backbone is taken and its head left.
    Renaming only; :func:`~orl_mm.engine.weights.read_backbone` reads and checks a file.

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
        weights = {
            re.sub(r'^backbone\.', '', name): value
            for name, value in weights.items()
            if not name.startswith('head.')
        }
    renamed = {name: DINO_VIT.to_ours(name) for name in weights}
    unknown = [name for name, ours in renamed.items() if ours is None]
    if unknown or not renamed:
        raise ValueError(
            f'not a ViT of facebookresearch/dino: it has names such as {unknown[:5]} '
            f'({len(unknown)} unknown of {len(weights)}); XCiT and ResNet weights '
            'need no or another renaming'
        )
    return {ours: weights[name] for name, ours in renamed.items()}
