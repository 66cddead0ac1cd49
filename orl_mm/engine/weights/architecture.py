"""Which network a file's tensors make up, and whether they make it up whole."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

# Depth -> blocks of the four stages, and whether they are bottlenecks. 200 is Haiku's.
RESNETS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
    200: ((3, 24, 36, 3), True),
}
MIN_MATCH = 0.99


class Architecture(NamedTuple):
    """A network by its name, and the shapes of its parameters and statistics by ours."""

    name: str
    title: str
    shapes: Shapes


def resnet(depth: int, stem: int = 64, base: int = 64) -> Architecture:
    """He et al. 2015 with a 7x7 stem of ``stem`` channels and a first stage ``base`` wide."""
    blocks, bottleneck = RESNETS[depth]
    shapes, inside = _conv_norm('conv1', 'bn1', stem, 3, 7), stem
    for stage, count in enumerate(blocks, 1):
        width = base * 2 ** (stage - 1)
        out = 4 * width if bottleneck else width
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        for block in range(count):
            at, before = f'layer{stage}.{block}.', inside
            for n, kernel in enumerate(kernels, 1):
                to = out if n == len(kernels) else width
                shapes.update(_conv_norm(f'{at}conv{n}', f'{at}bn{n}', to, before, kernel))
                before = to
            if block == 0 and (stage > 1 or inside != out):
                shapes.update(_conv_norm(f'{at}downsample.0', f'{at}downsample.1', out, inside, 1))
            inside = out
    width = '' if stem == base == 64 else f', stem {stem} and first stage {base} wide'
    return Architecture(f'resnet{depth}', f'ResNet-{depth}{width}', shapes)


def vit(
    width: int, blocks: int, patch: int = 16, tokens: int = 197, hidden: int = 0, channels: int = 3
) -> Architecture:
    """A ViT with a class token and biases everywhere, ``hidden`` (4 x width) in its MLPs."""
    hidden = hidden or 4 * width
    shapes = {
        'cls_token': (1, 1, width),
        'pos_embed': (1, tokens, width),
        **_linear('patch_embed.projection', width, channels, patch, patch),
    }
    for i in range(blocks):
        at = f'layers.{i}.'
        shapes.update(
            **_linear(f'{at}ln1', width),
            **_linear(f'{at}attn.qkv', 3 * width, width),
            **_linear(f'{at}attn.proj', width, width),
            **_linear(f'{at}ln2', width),
            **_linear(f'{at}ffn.layers.0.0', hidden, width),
            **_linear(f'{at}ffn.layers.1', width, hidden),
        )
    shapes.update(_linear('ln1', width))
    return Architecture(
        'vit', f'ViT with {blocks} blocks, {width} wide, patches of {patch}', shapes
    )


def find_architecture(weights: dict[str, Tensor]) -> Architecture:
    """The network that tensors under our names belong to, whole or not.

    Raises:
        ValueError: It is none of the ResNets of :data:`RESNETS` and no ViT.
    """
    if 'patch_embed.projection.weight' in weights:
        first = weights['patch_embed.projection.weight']
        if first.ndim != 4:
            raise ValueError(f'patches are embedded by a tensor of shape {tuple(first.shape)}')
        mlp = weights.get('layers.0.ffn.layers.0.0.weight')
        places = weights.get('pos_embed', first)
        return vit(
            first.shape[0],
            _count(weights, r'layers\.(\d+)\.'),
            first.shape[-1],
            places.shape[1],
            0 if mlp is None else mlp.shape[0],
            first.shape[1],
        )
    found = (
        tuple(_count(weights, rf'layer{stage}\.(\d+)\.') for stage in (1, 2, 3, 4)),
        any(re.fullmatch(r'layer\d\.\d+\.conv3\.weight', name) for name in weights),
    )
    for depth, blocks in RESNETS.items():
        if blocks == found:
            first = weights.get('layer1.0.conv1.weight')
            stem = weights.get('conv1.weight')
            return resnet(
                depth, 64 if stem is None else len(stem), 64 if first is None else len(first)
            )
    raise ValueError(
        f'it is no ResNet-{", -".join(map(str, RESNETS))} and no ViT: {found[0]} blocks in its '
        f'four stages, {"with" if found[1] else "without"} bottlenecks'
    )


def check_complete(weights: dict[str, Tensor], architecture: Architecture) -> list[str]:
    """The names that are missing, fewer than 1% of the network's.

    Raises:
        ValueError: More are missing, or shapes or further parts are another network's.
    """
    shapes = architecture.shapes
    missing = [name for name in shapes if name not in weights]
    if len(missing) > (1 - MIN_MATCH) * len(shapes):
        raise ValueError(
            f'it holds {len(shapes) - len(missing)} of the {len(shapes)} tensors of a '
            f'{architecture.title}, fewer than {MIN_MATCH:.0%}; missing: {few(missing)}'
        )
    wrong = [
        f'{name} is {tuple(weights[name].shape)} instead of {shape}'
        for name, shape in shapes.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    wrong += [
        f'{name} is no part of one'
        for name in weights
        if name not in shapes and not is_counter(name)
    ]
    if wrong:
        raise ValueError(f'it is another network than a {architecture.title}: {few(wrong)}')
    return missing


def is_counter(name: str) -> bool:
    """Whether it counts batches, which no result depends on."""
    return name.endswith('num_batches_tracked')


def few(items: Iterable[str], most: int = 5) -> str:
    """The first of many items as text."""
    items = list(items)
    return ', '.join(items[:most]) + (f' and {len(items) - most} more' if len(items) > most else '')


def _count(names: Iterable[str], pattern: str) -> int:
    return max(
        (int(match[1]) + 1 for match in (re.match(pattern, name) for name in names) if match),
        default=0,
    )


def _conv_norm(conv: str, norm: str, out: int, inside: int, kernel: int) -> Shapes:
    return {
        f'{conv}.weight': (out, inside, kernel, kernel),
        **{f'{norm}.{part}': (out,) for part in ('weight', 'bias', 'running_mean', 'running_var')},
    }


def _linear(name: str, out: int, *inside: int) -> Shapes:
    return {f'{name}.weight': (out, *inside), f'{name}.bias': (out,)}
