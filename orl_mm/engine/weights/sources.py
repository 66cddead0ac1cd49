"""Whose file it is: by which names each published code's checkpoints are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .architecture import few
from .layouts import ANCHORS, DETECTRON2, DINO_VIT, HAIKU, LAYOUTS, PYRAMID, RESNET, SEQUENTIAL, VIT
from .renaming import Renaming

# A network that gradients train, and its moving average: as BYOL and R2O call them.
NETWORKS = dict(online='online', student='online', target='target', teacher='target')


@dataclass(frozen=True)
class Source:
    """One code's checkpoints.

    Attributes:
        key (str): What ``--from`` takes.
        title (str): What a message calls it.
        layouts (tuple): The names its backbones may bear.
        online, target (tuple): What may stand before them, of either network.
        marks (tuple): Such a file also has names that begin with one of these; empty: none
            is asked for, and a file that any other source knows is that source's.
        author (str): Such a file has an entry ``author`` that says so.
        default (str): The network that is evaluated.
    """

    key: str
    title: str
    layouts: tuple[Renaming, ...]
    online: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    author: str = ''
    default: str = 'online'


class Found(NamedTuple):
    """A backbone in a file: whose names, which network, what stands before them."""

    source: Source
    network: str
    prefix: str
    layout: Renaming


def _wrapped(*prefixes: str) -> tuple[str, ...]:
    """With and without what DistributedDataParallel puts before all names."""
    return tuple(ddp + prefix for prefix in prefixes for ddp in ('module.', ''))


_BACKBONE = ('backbone.',)
_EMA_1X = ('encoder_k.module.0.', 'target_net.module.0.', 'momentum_encoder.module.0.')
_EMA_0X = ('encoder_k.0.', 'target_net.0.', 'momentum_encoder.0.')

SOURCES = (
    Source(
        'orl_mm',
        'R2O or a baseline of this project',
        (RESNET, VIT),
        _BACKBONE,
        ('target.backbone.',),
        marks=('target.',),
    ),
    Source(
        'orl_mm',
        'DINO or MeDINO of this project',
        (VIT, RESNET),
        _BACKBONE,
        ('teacher.backbone.',),
        marks=('teacher.',),
        default='target',
    ),
    Source(
        'mmselfsup', 'mmselfsup 1.x or mmpretrain', (RESNET, VIT), _BACKBONE, _EMA_1X, marks=_EMA_1X
    ),
    # MoCo's, BYOL's and SimSiam's backbone is also the first of a Sequential.
    Source(
        'mmselfsup',
        'mmselfsup 0.x or OpenSelfSup',
        (RESNET, VIT),
        _BACKBONE,
        _EMA_0X,
        marks=(*_EMA_0X, 'encoder_q.0.', 'online_net.0.', 'encoder.0.', 'base_encoder.0.'),
    ),
    Source(
        'r2o',
        'R2O or DetCon-PyTorch as published (KKallidromitis)',
        (SEQUENTIAL, PYRAMID),
        _wrapped('online_network.encoder.', 'online_network.'),
        _wrapped('target_network.encoder.', 'target_network.'),
        marks=_wrapped('online_network.'),
    ),
    Source('detcon', 'DetCon as published (deepmind)', (HAIKU,), marks=('',)),
    Source(
        'pixpro',
        'PixPro as published (zdaxie)',
        (RESNET,),
        _wrapped('encoder.'),
        _wrapped('encoder_k.'),
        marks=_wrapped('encoder_k.', 'projector.'),
    ),
    Source(
        'infomin',
        'InfoMin as published (HobbitLong/PyContrast)',
        (RESNET,),
        _wrapped('encoder.'),
        marks=_wrapped('head.', 'head_jig.'),
    ),
    Source('densecl', 'DenseCL as published (WXinlong)', (RESNET,), ('',), author='DenseCL'),
    Source(
        'moco',
        'MoCo as published (facebookresearch)',
        (RESNET,),
        _wrapped('encoder_q.'),
        _wrapped('encoder_k.'),
        marks=_wrapped('encoder_q.'),
    ),
    Source(
        'detectron2',
        'detectron2',
        (DETECTRON2,),
        ('', 'backbone.bottom_up.', 'backbone.'),
        marks=('stem.conv1.', 'backbone.bottom_up.', 'backbone.stem.'),
    ),
    Source(
        'dino',
        'DINO as published (facebookresearch), full checkpoint',
        (DINO_VIT, RESNET),
        ('student/module.backbone.', 'student/backbone.'),
        ('teacher/module.backbone.', 'teacher/backbone.'),
        marks=('teacher/', 'student/'),
        default='target',
    ),
    # A backbone alone is the teacher's.
    Source(
        'dino',
        'DINO as published (facebookresearch), backbone',
        (DINO_VIT,),
        target=('', 'module.', 'backbone.', 'module.backbone.'),
        marks=('',),
        default='target',
    ),
    Source('openmmlab', 'a model of OpenMMLab', (RESNET, VIT), _BACKBONE),
    Source('openmmlab', 'a bare ViT of mmpretrain', (VIT,), ('',)),
    Source('torchvision', 'bare names of torchvision, timm, OpenMMLab', (RESNET,), ('',)),
)
KEYS = tuple(dict.fromkeys(source.key for source in SOURCES))
# R2O's public code and DetCon-PyTorch are built on the same one, and name everything alike.
ALIASES = {'detcon-pytorch': 'r2o', 'timm': 'torchvision'}


def find_backbone(
    names: Sequence[str],
    author: Any = None,
    key: str = 'auto',
    network: str | None = None,
    prefix: str | None = None,
) -> Found:
    """Recognise a file by the names of its tensors.

    Args:
        names (sequence): All of them.
        author: The file's entry of that name.
        key (str): One of :data:`KEYS` or :data:`ALIASES`, or ``'auto'``.
        network (str, optional): A key of :data:`NETWORKS`; None: the one that is evaluated.
        prefix (str, optional): What stands before the backbone's names, instead of what the
            source says.

    Raises:
        ValueError: No source knows the file, two do, or it is not the one named; with what
            the file holds.
    """
    key = ALIASES.get(key, key)
    if prefix is not None:
        return _at_prefix(names, key, prefix)
    if key == 'auto':
        sources = recognise(names, author)
    else:
        sources = [source for source in SOURCES if source.key == key and _known(source, names)]
        sources = [source for source in sources if _marked(source, names, author)] or sources
        if not sources:
            looks = ' or '.join(source.title for source in recognise(names, author))
            raise ValueError(
                f'it is not {_titles(key)}; it looks like {looks or "none known"}: '
                f'{describe(names)}'
            )
    if not sources:
        raise ValueError(
            f'not recognised: {describe(names)}{_offer(names)}. --from takes {", ".join(KEYS)}'
        )
    if len({source.key for source in sources}) > 1:
        raise ValueError(
            'it looks like '
            + ' and like '.join(f'{source.title} (--from {source.key})' for source in sources)
            + ': choose one'
        )
    source = sources[0]
    asked = NETWORKS[network] if network else source.default
    places = [found for found in _anchors(source, names) if found.network == asked]
    if not places:
        has = ' and '.join(sorted({found.network for found in _anchors(source, names)}))
        raise ValueError(
            f'it is {source.title} and has no {network or asked} network, only the '
            f'{has} one: {describe(names)}'
        )
    if len(places) > 1:
        raise ValueError(
            f'it is {source.title} and has several networks: choose one with '
            f'--prefix: {few(repr(found.prefix) for found in places)}'
        )
    return places[0]


def recognise(names: Sequence[str], author: Any = None) -> list[Source]:
    """The sources that a file may be of; the ones without marks only where no other is."""
    known = [source for source in SOURCES if _known(source, names)]
    marked = [source for source in known if _marked(source, names, author)]
    return marked or [source for source in known if not source.marks and not source.author]


def describe(names: Sequence[str]) -> str:
    """What a file holds, shortly: how often its names begin with what."""
    return f'it holds {len(names)} tensors, named {few(starts(names), 8)}'


def starts(names: Sequence[str]) -> list[str]:
    """What names begin with, and how many do: ``module.encoder_k (320)``."""
    counts: dict[str, int] = {}
    for name in names:
        start = '.'.join(name.replace('/~/', '.').split('.')[:2])
        counts[start] = counts.get(start, 0) + 1
    return [f'{start} ({count})' for start, count in counts.items()]


def _known(source: Source, names: Sequence[str]) -> bool:
    # A moving average alone says little: everybody calls it encoder_k.
    return any(found.network == 'online' or not source.online for found in _anchors(source, names))


def _marked(source: Source, names: Sequence[str], author: Any) -> bool:
    if source.author:
        return author == source.author
    return any(name.startswith(source.marks) for name in names) if source.marks else False


def _anchors(source: Source, names: Sequence[str]) -> list[Found]:
    """Where a source's prefixes and layouts find a network's first convolution."""
    given, found = set(names), []
    for layout in source.layouts:
        for first, _ in _landmarks(layout):
            prefixes = dict(online=source.online, target=source.target)
            if layout is HAIKU:  # the model's name comes first, which is anything
                starts = [
                    name[: -len(first)]
                    for name in names
                    if name == first or name.endswith(f'/{first}')
                ]
                prefixes = dict(
                    online=[start for start in starts if 'target' not in start],
                    target=[start for start in starts if 'target' in start],
                )
            found += [
                Found(source, network, prefix, layout)
                for network, several in prefixes.items()
                for prefix in several
                if prefix + first in given
            ]
    return found


def _at_prefix(names: Sequence[str], key: str, prefix: str) -> Found:
    layouts = (
        LAYOUTS
        if key == 'auto'
        else tuple(layout for source in SOURCES if source.key == key for layout in source.layouts)
    )
    for layout in layouts:
        if any(prefix + first in names for first, _ in _landmarks(layout)):
            source = Source(key, f'{layout.title} under {prefix!r}', (layout,))
            return Found(source, 'online', prefix, layout)
    raise ValueError(
        f'nothing known stands under --prefix {prefix!r}: {describe(names)}{_offer(names)}'
    )


def _offer(names: Sequence[str]) -> str:
    given, places = set(names), []
    for layout in LAYOUTS:
        for first, second in _landmarks(layout):
            starts = [name[: -len(first)] for name in names if name.endswith(first)]
            places += [
                f'{layout.title} under --prefix {start!r}'
                for start in starts
                if start + second in given
            ]
    return f'. It has {few(places)}' if places else ''


def _landmarks(layout: Renaming) -> list[tuple[str, str]]:
    pairs = ((layout.to_theirs(first), layout.to_theirs(second)) for first, second in ANCHORS)
    return [(first, second) for first, second in pairs if first is not None]


def _titles(key: str) -> str:
    return ' or '.join(source.title for source in SOURCES if source.key == key)
