"""Run a backbone only as far as one of its stages."""

from torch import Tensor, nn


def forward_stage(backbone: nn.Module, images: Tensor, stage: int) -> Tensor:
    """Features of one stage, computing no later one: C4 needs no C5.

    Args:
        backbone (nn.Module): With ``out_indices``; the stages of those that list
            them in ``res_layers`` (the ResNets of mmpretrain, mmdet and mmseg)
            are cut short, others run whole.
        images (Tensor): (B, 3, H, W).
        stage (int): 0-based: 2 is C4 of a ResNet, 14 x 14 for 224 x 224.

    Returns:
        Tensor: (B, C, h, w).

    Raises:
        TypeError: The backbone has no ``out_indices``.
        ValueError: It has no such stage, or gives no feature map.
    """
    check_stage(backbone, stage)
    layers, out_indices = getattr(backbone, 'res_layers', None), backbone.out_indices
    try:
        backbone.out_indices = type(out_indices)((stage,))
        if layers is not None:
            backbone.res_layers = layers[: stage + 1]
        feats = backbone(images)[0]
    finally:
        backbone.out_indices = out_indices
        if layers is not None:
            backbone.res_layers = layers
    if feats.dim() != 4:
        raise ValueError(
            f'stage {stage} gives {tuple(feats.shape)}, not a feature map (B, C, h, w); '
            "a vision transformer needs out_type='featmap'"
        )
    return feats


def check_stage(backbone: nn.Module, stage: int) -> None:
    """Raise if :func:`forward_stage` cannot run a backbone up to ``stage``.

    Raises:
        TypeError: The backbone has no ``out_indices``.
        ValueError: It has no such stage.
    """
    if not hasattr(backbone, 'out_indices'):
        raise TypeError(
            f'{type(backbone).__name__} has no `out_indices`; clustering needs a '
            'backbone of mmpretrain that can return an inner stage'
        )
    layers = getattr(backbone, 'res_layers', None)
    if layers is not None and not 0 <= stage < len(layers):
        raise ValueError(
            f'stage {stage} does not exist: the backbone has {len(layers)} stages, '
            f'0..{len(layers) - 1}'
        )
