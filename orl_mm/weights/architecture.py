"""Which network a file's tensors make up, and what of it is missing or different."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from mmpretrain.models import ResNet, VisionTransformer
from mmpretrain.models.backbones.resnet import Bottleneck
from torch import Tensor, nn

from .names import few

Shapes = dict[str, tuple[int, ...]]

MIN_MATCH = 0.99
_PATCHES = 'patch_embed.projection.weight'


class Architecture(NamedTuple):
    """A network and the shapes of its parameters and statistics, under OpenMMLab's names."""

    name: str
    title: str
    shapes: Shapes


class _ResNet(ResNet):
    arch_settings = {**ResNet.arch_settings, 200: (Bottleneck, (3, 24, 36, 3))}  # as Haiku has


RESNETS = {
    depth: (blocks, block is Bottleneck) for depth, (block, blocks) in _ResNet.arch_settings.items()
}


@lru_cache
def resnet(depth: int, stem: int = 64, base: int = 64) -> Architecture:
    """A ResNet with a 7x7 stem of ``stem`` channels and a first stage of width ``base``."""
    narrow = '' if stem == base == 64 else f', stem {stem} and first stage {base} wide'
    model = _ResNet(depth, stem_channels=stem, base_channels=base)
    return Architecture(f'resnet{depth}', f'ResNet-{depth}{narrow}', shapes_of(model))


@lru_cache
def vit(
    width: int, blocks: int, patch: int, tokens: int, hidden: int, channels: int
) -> Architecture:
    """A ViT with a class token and ``hidden`` units in its MLPs."""
    arch = dict(embed_dims=width, num_layers=blocks, num_heads=1, feedforward_channels=hidden)
    size = (patch, patch * (tokens - 1))
    model = VisionTransformer(arch, img_size=size, patch_size=patch, in_channels=channels)
    title = f'ViT with {blocks} blocks, {width} wide, patches of {patch}'
    return Architecture('vit', title, shapes_of(model))


def shapes_of(model: nn.Module) -> Shapes:
    """The shapes of a model's parameters and statistics, without counters of batches."""
    state = model.state_dict().items()
    return {name: tuple(value.shape) for name, value in state if not is_counter(name)}


def find_architecture(weights: Mapping[str, Tensor]) -> Architecture:
    """The network that tensors under OpenMMLab's names belong to, complete or not.

    Raises:
        ValueError: It is neither a ViT nor a ResNet of a depth in :data:`RESNETS`.
    """
    if _PATCHES in weights:
        first = weights[_PATCHES]
        if first.ndim != 4:
            raise ValueError(f'{_PATCHES} has the shape {tuple(first.shape)}, not four dimensions')
        mlp = weights.get('layers.0.ffn.layers.0.0.weight')
        tokens = weights.get('pos_embed', first).shape[1]
        hidden = 4 * len(first) if mlp is None else len(mlp)
        return vit(
            len(first),
            _count(weights, r'layers\.(\d+)\.'),
            first.shape[-1],
            tokens,
            hidden,
            first.shape[1],
        )
    blocks = tuple(_count(weights, rf'layer{stage}\.(\d+)\.') for stage in (1, 2, 3, 4))
    bottleneck = any(re.fullmatch(r'layer\d\.\d+\.conv3\.weight', name) for name in weights)
    for depth, found in RESNETS.items():
        if found == (blocks, bottleneck):
            stem, base = (
                len(weights[name]) if name in weights else 64
                for name in ('conv1.weight', 'layer1.0.conv1.weight')
            )
            return resnet(depth, stem, base)
    raise ValueError(
        f'it is no ResNet-{", -".join(map(str, RESNETS))} and no ViT: {blocks} blocks in its '
        f'four stages, {"with" if bottleneck else "without"} bottlenecks'
    )


def check_complete(
    title: str,
    shapes: Mapping[str, tuple[int, ...]],
    weights: Mapping[str, Tensor],
    where: str = 'it',
    min_match: float = MIN_MATCH,
    fix: str = '',
    resizes: bool = False,
) -> list[str]:
    """Check that weights are those of a network; both under OpenMMLab's names.

    Args:
        title (str): The network's name, for messages.
        shapes (mapping): Of its parameters and statistics, without counters of batches.
        weights (mapping): Those of the file, its backbone's only or with other parts'.
        where (str): The file's name, for messages.
        min_match (float): Share of ``shapes`` that must be in ``weights``.
        fix (str): What to do if fewer are.
        resizes (bool): Whether the network resizes ``pos_embed`` while it loads.

    Returns:
        list: The names that are missing.

    Raises:
        ValueError: Fewer match, or shapes or additional blocks show another network.
    """
    missing = [name for name in shapes if name not in weights]
    if not shapes or len(missing) > (1 - min_match) * len(shapes):
        raise ValueError(
            f'{where} holds {len(shapes) - len(missing)} of the {len(shapes)} tensors of {title}, '
            f'fewer than {min_match:.0%}; missing: {few(missing)}{fix}'
        )
    differ = [
        f'{name} is {tuple(weights[name].shape)} in the file and {shape} in the model'
        for name, shape in shapes.items()
        if name in weights
        and tuple(weights[name].shape) != shape
        and not (resizes and name == 'pos_embed')
    ]
    first = tuple(weights[_PATCHES].shape) if _PATCHES in weights else ()
    if _PATCHES in shapes and first != shapes[_PATCHES] and len(first) == 4:
        ours = shapes[_PATCHES]
        differ.insert(
            0,
            f'patches of {first[-1]} pixels and width {first[0]} in the file, '
            f'patches of {ours[-1]} pixels and width {ours[0]} in the model',
        )
    # Additional blocks belong to a deeper network; other parts of the file, such as heads,
    # do not matter.
    children = {name.split('.')[0] for name in shapes}
    differ += [
        f'{name} is only in the file'
        for name in weights
        if name not in shapes and name.split('.')[0] in children and not is_counter(name)
    ]
    if differ:
        raise ValueError(
            f'{where} is of another architecture than {title}: {few(differ)}. Use the config '
            'that it was trained with'
        )
    return missing


def is_counter(name: str) -> bool:
    """Whether it counts batches, which affects no result."""
    return name.endswith('num_batches_tracked')


def _count(names: Iterable[str], pattern: str) -> int:
    matches = (re.match(pattern, name) for name in names)
    return max((int(match[1]) + 1 for match in matches if match), default=0)
