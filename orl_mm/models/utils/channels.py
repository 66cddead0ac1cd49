"""Channels of one part of a model that follow from those of another."""

import inspect
from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import nn

from orl_mm.registry import MODELS


def fit_parts(
    backbone: dict | nn.Module, neck: dict | None, head: dict | None
) -> tuple[nn.Module, dict | None, dict | None]:
    """Build a backbone, and give neck and head the channels that follow from it.

    ``in_channels`` of the neck (or of the projector inside it) are those of the backbone's
    last feature map, or of all its feature maps for a decoder; the predictor of the head, and
    ``channels`` of a head without one, are as wide as the projection.

    Args:
        backbone (dict or nn.Module): Config, or the module.
        neck, head (dict, optional): Configs. Values that they give are only checked.

    Returns:
        tuple: The backbone, and the configs of neck and head.

    Raises:
        ValueError: A value given does not fit; the message names both sides.
    """
    if isinstance(backbone, dict):
        backbone = MMPRETRAIN_MODELS.build(backbone)
    assert isinstance(backbone, nn.Module)
    if isinstance(neck, dict):
        inner = _inner(neck)
        part = neck[inner] if inner else neck
        if _takes(part, 'in_channels'):
            part = _fit_input(part, backbone)
            neck = dict(neck, **{inner: part}) if inner else part
        width = projection_channels(neck)
        if isinstance(head, dict) and width is not None:
            if isinstance(head.get('predictor'), dict):
                predictor = head['predictor']
                for key in ('in_channels', 'out_channels'):
                    if _takes(predictor, key):
                        predictor = fit(predictor, key, width, 'the projection')
                head = dict(head, predictor=predictor)
            elif _takes(head, 'channels'):
                head = fit(head, 'channels', width, 'the projection')
    return backbone, neck, head


def fit(cfg: dict, key: str, width: int | Sequence[int], source: str) -> dict:
    """A config with ``key`` set to ``width``, or checked if it is there.

    Args:
        cfg (dict): Config of a part.
        key (str): Such as ``'in_channels'``.
        width (int or sequence): What it must be.
        source (str): What determines it, for the message.

    Raises:
        ValueError: Another value is given.
    """
    given = cfg.get(key)
    if given is None:
        return dict(cfg, **{key: width})
    same = given == width if isinstance(width, int) else tuple(given) == tuple(width)
    if not same:
        raise ValueError(
            f'{cfg.get("type")} has {key}={given}, but {source} has {width} channels; leave '
            f'{key} out, or set it to {width}'
        )
    return cfg


def projection_channels(neck: dict | None) -> int | None:
    """``out_channels`` of a neck, or of the projector inside it; None if it has none."""
    neck = neck or {}
    inner = _inner(neck)
    return (neck[inner] if inner else neck).get('out_channels')


def backbone_channels(backbone: nn.Module) -> list[int] | None:
    """Channels of each output of a backbone, from a pass of one blank image without gradient.

    Returns:
        list: One per output; None if the backbone does not take an image.
    """
    height, width = getattr(backbone, 'img_size', (64, 64))
    parameter = next(backbone.parameters(), torch.empty(0))
    image = torch.zeros(1, 3, height, width, device=parameter.device, dtype=parameter.dtype)
    training = {module: module.training for module in backbone.modules()}
    backbone.eval()
    try:
        with torch.no_grad():
            outputs = backbone(image)
    except (RuntimeError, TypeError, ValueError):  # such as a backbone of another input
        return None
    finally:
        for module, mode in training.items():
            module.training = mode
    return [x.shape[1] for x in (outputs if isinstance(outputs, (tuple, list)) else [outputs])]


def _inner(neck: dict) -> str | None:
    """The key of the neck inside of a neck."""
    return next(
        (key for key in ('projector', 'crop_neck') if isinstance(neck.get(key), dict)), None
    )


def _takes(cfg: dict, key: str) -> bool:
    """Whether a part has an argument; of another package's part only if it is given."""
    if key in cfg:
        return True
    part = MODELS.get(cfg['type']) if isinstance(cfg.get('type'), str) else cfg.get('type')
    return part is not None and key in inspect.signature(part).parameters


def _fit_input(part: dict, backbone: nn.Module) -> dict:
    channels = backbone_channels(backbone)
    if not channels:
        return part
    many = _takes(part, 'pyramid_channels')  # a decoder of all stages
    return fit(
        part,
        'in_channels',
        tuple(channels) if many else channels[-1],
        f'the output of the backbone {type(backbone).__name__}',
    )
