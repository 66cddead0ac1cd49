"""How each published code names a backbone's tensors, and how its files are recognized."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

# What the fields of a pattern stand for. `{stage}` is one of the four stages of a ResNet.
_FIELDS = dict(block=r'\d+', n=r'\d', leaf=r'\w+', rest='.+')
_LEAVES = ('weight', 'bias', 'running_mean', 'running_var')


class Layout:
    """A one-to-one correspondence between OpenMMLab's names ("ours") and another code's.

    Args:
        title (str): Whose names they are, for messages.
        *pairs (tuple): Patterns of ours and theirs with the same fields; the first that
            matches counts.
        shift (int): The number of their first stage minus ours, which is 1.
        note (str): What to know before using such weights.
    """

    def __init__(self, title: str, *pairs: tuple[str, str], shift: int = 0, note: str = '') -> None:
        self.title, self.note = title, note
        numbered = [
            (ours.replace('{stage}', str(stage)), theirs.replace('{stage}', str(stage + shift)))
            for ours, theirs in pairs
            for stage in ((1, 2, 3, 4) if '{stage}' in ours else (0,))
        ]
        self._from_ours = [(_pattern(ours), theirs) for ours, theirs in numbered]
        self._from_theirs = [(_pattern(theirs), ours) for ours, theirs in numbered]

    def to_ours(self, name: str) -> str | None:
        """Our name for theirs; None if it does not belong to the backbone."""
        return _rename(name, self._from_theirs)

    def to_theirs(self, name: str) -> str | None:
        """Their name for ours; None if they have no such tensor."""
        return _rename(name, self._from_ours)

    def names_under(self, prefix: str, names: Iterable[str]) -> dict[str, str]:
        """Our names of the tensors under a prefix that belong to the backbone -> full names."""
        renamed = {n: self.to_ours(n[len(prefix) :]) for n in names if n.startswith(prefix)}
        return {ours: name for name, ours in renamed.items() if ours is not None}


def _pattern(text: str) -> re.Pattern:
    parts = re.split(r'\{(\w+)\}', text)
    return re.compile(
        ''.join(
            f'(?P<{part}>{_FIELDS[part]})' if i % 2 else re.escape(part)
            for i, part in enumerate(parts)
        )
    )


def _rename(name: str, patterns: list[tuple[re.Pattern, str]]) -> str | None:
    for pattern, other in patterns:
        match = pattern.fullmatch(name)
        if match:
            return other.format(**match.groupdict())
    return None


def _haiku_norm(ours: str, theirs: str) -> list[tuple[str, str]]:
    leaves = ('scale', 'offset', '~/mean_ema/average', '~/var_ema/average')
    return [(f'{ours}.{a}', f'{theirs}/{b}') for a, b in zip(_LEAVES, leaves, strict=True)]


SAME_PADDING = (
    "trained with TensorFlow's SAME padding. Where a layer halves an even size, that pads the "
    'right and lower side only; the ResNets of torchvision, timm, detectron2 and OpenMMLab pad all '
    'sides and look one cell further to the upper left. So their features are the published ones '
    'on images of 32 n + 1 pixels a side (225) and others elsewhere (224): '
    'projects/weights/README.md has the two lines that make them equal on multiples of 32'
)
_BLOCK = 'block_group_{stage}/~/block_{block}/~'

# OpenMMLab's ResNet has torchvision's names, and so has timm's.
RESNET = Layout(
    "torchvision's names",
    *((name, name) for name in ('conv1.{rest}', 'bn1.{rest}', 'layer{stage}.{rest}')),
)
# nn.Sequential(*torchvision_resnet.children()): EncoderwithProjection in
# model/basic_modules.py of KKallidromitis/r2o and detcon-pytorch.
SEQUENTIAL = Layout(
    "torchvision's children numbered",
    ('conv1.{rest}', '0.{rest}'),
    ('bn1.{rest}', '1.{rest}'),
    ('layer{stage}.{rest}', '{stage}.{rest}'),
    shift=3,
)
# The same file's variant with a feature pyramid.
PYRAMID = Layout(
    "torchvision's stages as C1 to C5",
    ('conv1.{rest}', 'C1.0.{rest}'),
    ('bn1.{rest}', 'C1.1.{rest}'),
    ('layer{stage}.{rest}', 'C{stage}.{rest}'),
    shift=1,
)
# tools/convert-torchvision-to-d2.py of detectron2. The last line keeps tensors in sight that
# a plain ResNet does not have, such as offsets of deformable convolutions.
DETECTRON2 = Layout(
    "detectron2's names",
    ('conv1.weight', 'stem.conv1.weight'),
    ('bn1.{leaf}', 'stem.conv1.norm.{leaf}'),
    ('layer{stage}.{block}.bn{n}.{leaf}', 'res{stage}.{block}.conv{n}.norm.{leaf}'),
    ('layer{stage}.{block}.downsample.0.{leaf}', 'res{stage}.{block}.shortcut.{leaf}'),
    ('layer{stage}.{block}.downsample.1.{leaf}', 'res{stage}.{block}.shortcut.norm.{leaf}'),
    ('layer{stage}.{rest}', 'res{stage}.{rest}'),
    shift=1,
    note='a detectron2 file does not say for which images it is; the configs of this project need '
    'RGB and the stride in the 3x3 convolution, as torchvision, R2O and MoCo have: '
    "MSRA's R-50, for one, is for BGR with the stride in the 1x1",
)
# BlockV1 in Haiku's nets/resnet.py.
HAIKU = Layout(
    "Haiku's names",
    ('conv1.weight', 'initial_conv/w'),
    *_haiku_norm('bn1', 'initial_batchnorm'),
    *((f'layer{{stage}}.{{block}}.conv{n + 1}.weight', f'{_BLOCK}/conv_{n}/w') for n in range(3)),
    *(
        pair
        for n in range(3)
        for pair in _haiku_norm(f'layer{{stage}}.{{block}}.bn{n + 1}', f'{_BLOCK}/batchnorm_{n}')
    ),
    ('layer{stage}.{block}.downsample.0.weight', f'{_BLOCK}/shortcut_conv/w'),
    *_haiku_norm('layer{stage}.{block}.downsample.1', f'{_BLOCK}/shortcut_batchnorm'),
    shift=-1,
    note=SAME_PADDING,
)
# mmpretrain's VisionTransformer.
VIT = Layout(
    "mmpretrain's ViT names",
    *(
        (name, name)
        for name in ('cls_token', 'pos_embed', 'patch_embed.{rest}', 'layers.{rest}', 'ln1.{rest}')
    ),
)
# vision_transformer.py of facebookresearch/dino, after timm's.
DINO_VIT = Layout(
    "timm's ViT names",
    ('cls_token', 'cls_token'),
    ('pos_embed', 'pos_embed'),
    ('patch_embed.projection.{leaf}', 'patch_embed.proj.{leaf}'),
    ('layers.{block}.ln{n}.{leaf}', 'blocks.{block}.norm{n}.{leaf}'),
    ('layers.{block}.ffn.layers.0.0.{leaf}', 'blocks.{block}.mlp.fc1.{leaf}'),
    ('layers.{block}.ffn.layers.1.{leaf}', 'blocks.{block}.mlp.fc2.{leaf}'),
    ('layers.{rest}', 'blocks.{rest}'),
    ('ln1.{leaf}', 'norm.{leaf}'),
)
LAYOUTS = (RESNET, SEQUENTIAL, PYRAMID, DETECTRON2, HAIKU, VIT, DINO_VIT)

# The network that is trained and its moving average, as BYOL and as DINO call them.
NETWORKS = dict(online='online', student='online', target='target', teacher='target')


class Source(NamedTuple):
    """The checkpoints of one code, recognized by what stands before the names of backbones.

    Attributes:
        key (str): What ``convert_weights.py --from`` takes.
        title (str): For messages.
        layouts (tuple): The names that its backbones may have.
        online, target (str): Prefixes of the trained network and of its moving average, as
            regular expressions, without DDP's ``module.``. None: it has no such network.
        default (str): The network that is evaluated.
    """

    key: str
    title: str
    layouts: tuple[Layout, ...]
    online: str | None
    target: str | None = None
    default: str = 'online'


# fmt: off
# The first row counts of which a file has all networks. Haiku's prefixes end in the name of
# the model, which is arbitrary.
SOURCES = (
    Source('orl_mm', 'R2O or a baseline of this project', (RESNET, VIT),
           'backbone.', 'target.backbone.'),
    Source('orl_mm', 'DINO or MeDINO of this project', (VIT, RESNET),
           'backbone.', 'teacher.backbone.', 'target'),
    Source('mmselfsup', 'mmselfsup, OpenSelfSup or mmpretrain', (RESNET, VIT),
           'backbone.', '(encoder_k|target_net|momentum_encoder).(module.)?0.'),
    Source('openmmlab', 'a model of OpenMMLab', (RESNET, VIT), 'backbone.'),
    Source('r2o', 'R2O or DetCon-PyTorch as published (KKallidromitis)', (SEQUENTIAL, PYRAMID),
           'online_network.(encoder.)?', 'target_network.(encoder.)?'),
    Source('detcon', 'DetCon as published (deepmind)', (HAIKU,), '(?!.*target).*', '.*target.*'),
    Source('detcon', 'DetCon as published (deepmind)', (HAIKU,), '.*'),
    Source('moco', 'MoCo as published (facebookresearch)', (RESNET,), 'encoder_q.', 'encoder_k.'),
    Source('pixpro', 'PixPro as published (zdaxie)', (RESNET,), 'encoder.', 'encoder_k.'),
    Source('infomin', 'InfoMin as published (HobbitLong/PyContrast)', (RESNET,), 'encoder.'),
    Source('detectron2', 'detectron2', (DETECTRON2,), '(backbone.)?(bottom_up.)?'),
    Source('dino', 'DINO as published (facebookresearch), full checkpoint', (DINO_VIT, RESNET),
           'student.backbone.', 'teacher.backbone.', 'target'),
    Source('dino', 'DINO as published (facebookresearch), backbone', (DINO_VIT,),
           None, '(teacher.)?(backbone.)?', 'target'),
    Source('torchvision', 'bare names of torchvision, timm, DenseCL, OpenMMLab', (RESNET,), ''),
    Source('openmmlab', 'a bare ViT of mmpretrain', (VIT,), ''),
)
# fmt: on
KEYS = tuple(dict.fromkeys(source.key for source in SOURCES))
# Codes whose files have the names of another one's.
ALIASES = {'detcon-pytorch': 'r2o', 'timm': 'torchvision', 'densecl': 'torchvision'}

# Which of several complete networks a model loads: the trained one, then bare names; of
# facebookresearch's DINO the teacher. EVALUATED: of this project's DINO the teacher, too.
ONLINE = (
    *('backbone.', '', 'encoder_q.', 'encoder.', 'online_network.encoder.', 'online_network.'),
    'teacher.backbone.',
)
EVALUATED = ('teacher.backbone.', *ONLINE)

# Two tensors that every backbone of a kind has, under our names: the first convolution and
# one that a chance match, such as `0.weight` of any Sequential, does not have.
ANCHORS = (
    ('conv1.weight', 'layer4.0.conv1.weight'),
    ('patch_embed.projection.weight', 'layers.0.attn.qkv.weight'),
)


class Found(NamedTuple):
    """A backbone in a file: whose file, which network, the prefix and layout of its names."""

    source: Source
    network: str
    prefix: str
    layout: Layout


def find_backbone(
    names: Iterable[str], key: str = 'auto', network: str | None = None, prefix: str | None = None
) -> Found:
    """Recognize a file by the names of its tensors.

    Args:
        names (iterable): All of them, without DDP's ``module.``.
        key (str): One of :data:`KEYS` or :data:`ALIASES`, or ``'auto'``.
        network (str, optional): A key of :data:`NETWORKS`. Default: the one that is evaluated.
        prefix (str, optional): What stands before the backbone's names, instead of what the
            table says of the source.

    Raises:
        ValueError: No source matches, or not the one given; or several networks do.
    """
    names, key = list(names), ALIASES.get(key, key)
    holds, places = f'it holds {len(names)} tensors, named {few(count_starts(names), 8)}', []
    for layout, anchors in ((layout, anchors) for layout in LAYOUTS for anchors in ANCHORS):
        first, second = (layout.to_theirs(anchor) for anchor in anchors)
        starts = [name[: -len(first)] for name in names if name.endswith(first)] if first else []
        places += [(layout, start) for start in starts if f'{start}{second}' in names]
    offers = [f'{layout.title} under --prefix {start!r}' for layout, start in places]
    offer = f'. It has {few(offers)}' if offers else ''

    def networks(source: Source, network: str) -> list[Found]:
        pattern = source.online if network == 'online' else source.target
        return [
            Found(source, network, start, layout)
            for layout, start in places
            if layout in source.layouts and pattern is not None and re.fullmatch(pattern, start)
        ]

    if prefix is not None:
        under = [layout for layout, start in places if start == prefix]
        if not under:
            raise ValueError(f'no known backbone under --prefix {prefix!r}: {holds}{offer}')
        source = Source(key, f'{under[0].title} under {prefix!r}', (under[0],), prefix)
        return Found(source, 'online', prefix, under[0])
    sources = [
        source
        for source in SOURCES
        if (source.online is None or networks(source, 'online'))
        and (source.target is None or networks(source, 'target'))
    ]
    chosen = [source for source in sources if key in ('auto', source.key)]
    if not chosen and sources:
        titles = ' or '.join(source.title for source in SOURCES if source.key == key)
        raise ValueError(f'it is not {titles}; it looks like {sources[0].title}: {holds}')
    if not chosen:
        raise ValueError(f'not recognized: {holds}{offer}. --from takes {", ".join(KEYS)}')
    source = chosen[0]
    asked = NETWORKS[network] if network else source.default
    found = networks(source, asked)
    if not found:
        has = 'target' if asked == 'online' else 'online'
        raise ValueError(
            f'it is {source.title} and has no {network or asked} network, only the {has} one: '
            f'{holds}'
        )
    if len(found) > 1:
        several = few(repr(item.prefix) for item in found)
        raise ValueError(f'it is {source.title}; choose a network with --prefix: {several}')
    return found[0]


def count_starts(names: Iterable[str]) -> list[str]:
    """The first two parts of names and how often each occurs: ``encoder_k.conv1 (1)``."""
    starts = Counter('.'.join(name.replace('/~/', '.').split('.')[:2]) for name in names)
    return [f'{start} ({count})' for start, count in starts.items()]


def few(items: Iterable[str], most: int = 5) -> str:
    """The first of many items as text."""
    items = list(items)
    return ', '.join(items[:most]) + (f' and {len(items) - most} more' if len(items) > most else '')
