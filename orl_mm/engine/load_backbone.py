"""A backbone takes over weights, almost all of them or none."""

from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log
from torch import Tensor, nn

from orl_mm.models.utils.weight_names import (
    EVALUATED,
    ONLINE,
    check_weights,
    choose_prefix,
    find_prefixes,
)

from .checkpoint import load_weights

PREFERRED = dict(auto=ONLINE, evaluated=EVALUATED)


class LoadedWeights(NamedTuple):
    """What :func:`load_backbone` did."""

    prefix: str
    matched: int
    total: int
    missing: list[str]


def load_backbone(
    backbone: nn.Module, path: str | Path, prefix: str = 'auto', min_match: float = 0.99
) -> LoadedWeights:
    """Copy weights of a checkpoint into a backbone; refuse a file that does not fit.

    mmengine's ``init_cfg=dict(type='Pretrained')`` warns and leaves a backbone
    random where no name matches; this function raises.

    Args:
        backbone (nn.Module): Receives the weights.
        path (str or Path): A checkpoint; its ``state_dict`` or ``model`` entry, or
            the file itself, maps names to tensors.
        prefix (str): What stands before the backbone's names, such as
            ``'backbone.'``, ``'target.backbone.'`` or ``''``. ``'auto'``: the prefix
            under which most names fit; among equals, the online network.
            ``'evaluated'``: likewise, but of DINO the teacher.
        min_match (float): Share of the backbone's parameters and buffers that the
            file must hold; counters of batches do not count.

    Returns:
        LoadedWeights

    Raises:
        ValueError: Fewer match, shapes differ, or the file is no checkpoint, see
            :func:`~orl_mm.engine.checkpoint.load_weights`.
    """
    weights = _tensors(load_weights(path), path)
    own = {
        name: value
        for name, value in backbone.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }
    if prefix in PREFERRED:
        prefix = choose_prefix(
            find_prefixes(weights, set(own)), len(own), PREFERRED[prefix], str(path)
        )
    elif prefix and not prefix.endswith('.'):
        prefix += '.'
    missing = check_weights(type(backbone).__name__, own, weights, prefix, str(path), min_match)
    chosen = {
        name: weights[prefix + name] for name in backbone.state_dict() if prefix + name in weights
    }
    backbone.load_state_dict(chosen, strict=False)
    matched = len(own) - len(missing)
    print_log(
        f'{type(backbone).__name__}: {matched} of {len(own)} tensors from {path}, prefix '
        f'{prefix!r}' + (f'; left as they were: {missing}' if missing else ''),
        logger='current',
    )
    return LoadedWeights(prefix, matched, len(own), missing)


def _tensors(content: Any, path: str | Path) -> dict[str, Tensor]:
    for key in ('state_dict', 'model'):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    weights = (
        {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not weights:
        inside = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f'{path} holds no weights under "state_dict", "model" or directly: it '
            f'has {inside}; save a dict of names and tensors'
        )
    return weights
