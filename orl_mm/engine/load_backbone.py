"""A backbone takes over weights, almost all of them or none."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Set, Union

from mmengine.logging import print_log
from torch import Tensor, nn

from .checkpoint import load_weights

# Where several networks of a file fit equally well: the online one, then bare names.
PREFERRED = ('backbone.', '', 'module.backbone.')


class LoadedWeights(NamedTuple):
    """What :func:`load_backbone` did."""
    prefix: str
    matched: int
    total: int
    missing: List[str]


def load_backbone(backbone: nn.Module, path: Union[str, Path], prefix: str = 'auto',
                  min_match: float = 0.99) -> LoadedWeights:
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
        min_match (float): Share of the backbone's parameters and buffers that the
            file must hold; counters of batches do not count.

    Returns:
        LoadedWeights

    Raises:
        ValueError: Fewer match, shapes differ, or the file is no checkpoint, see
            :func:`~orl_mm.engine.checkpoint.load_weights`.
    """
    weights = _tensors(load_weights(path), path)
    own = {name: value for name, value in backbone.state_dict().items()
           if not name.endswith('num_batches_tracked')}
    found = find_prefixes(weights, set(own))
    if prefix == 'auto':
        prefix = _choose(found, len(own), path)
    elif prefix and not prefix.endswith('.'):
        prefix += '.'
    chosen = {name: weights[prefix + name] for name in backbone.state_dict()
              if prefix + name in weights}
    missing = [name for name in own if name not in chosen]
    _check(backbone, own, chosen, missing, found, weights, prefix, path, min_match)
    backbone.load_state_dict(chosen, strict=False)
    matched = len(own) - len(missing)
    print_log(f'{type(backbone).__name__}: {matched} of {len(own)} tensors from {path}, prefix '
              f'{prefix!r}' + (f'; left as they were: {missing}' if missing else ''),
              logger='current')
    return LoadedWeights(prefix, matched, len(own), missing)


def _tensors(content: Any, path: Union[str, Path]) -> Dict[str, Tensor]:
    for key in ('state_dict', 'model'):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    weights = {name: value for name, value in content.items()
               if isinstance(value, Tensor)} if isinstance(content, dict) else {}
    if not weights:
        inside = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f'{path} holds no weights under "state_dict", "model" or directly: it '
                         f'has {inside}; save a dict of names and tensors')
    return weights


def find_prefixes(weights: Dict[str, Tensor], names: Set[str]) -> Dict[str, int]:
    """How many of the names the file has, under each prefix it has any of them."""
    counts: Dict[str, int] = {}
    for key in weights:
        parts = key.split('.')
        for i in range(len(parts)):
            if '.'.join(parts[i:]) in names:
                prefix = ''.join(f'{part}.' for part in parts[:i])
                counts[prefix] = counts.get(prefix, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _choose(found: Dict[str, int], total: int, path: Union[str, Path]) -> str:
    most = max(found.values(), default=0)
    if 2 * most < total:  # chance matches of names such as conv1.weight
        return ''
    best = [prefix for prefix, count in found.items() if count == most]
    for prefix in PREFERRED:
        if prefix in best:
            return prefix
    if len(best) > 1:
        raise ValueError(f'{path} holds several networks that fit, {best}: choose one with '
                         'prefix=')
    return best[0]


def _check(backbone: nn.Module, own: dict, chosen: dict, missing: List[str],
           found: Dict[str, int], weights: dict, prefix: str, path: Union[str, Path],
           min_match: float) -> None:
    name, matched = type(backbone).__name__, len(own) - len(missing)
    if not own or matched < min_match * len(own):
        offers = ', '.join(f'{p!r} ({n} names)' for p, n in found.items() if 2 * n > len(own))
        offers = offers or 'none that fits; its names begin with ' + _few(
            sorted({'.'.join(key.split('.')[:2]) for key in weights}))
        raise ValueError(
            f'{path} holds {matched} of the {len(own)} tensors of {name} under prefix '
            f'{prefix!r}, fewer than {min_match:.0%}. Missing: {_few(missing)}. Prefixes in the '
            f'file: {offers}. Give the right prefix=, or the backbone config the file was '
            'trained with; weights of other code must be renamed first')
    shapes = [f'{key} is {tuple(chosen[key].shape)} in the file and {tuple(own[key].shape)} here'
              for key in own if key in chosen and chosen[key].shape != own[key].shape]
    if shapes:
        raise ValueError(f'{path} is of another architecture than this {name}: {_few(shapes)}. '
                         'Use the backbone config it was trained with')


def _few(items: List[str], most: int = 5) -> str:
    rest = len(items) - most
    return ', '.join(items[:most]) + (f' and {rest} more' if rest > 0 else '')
