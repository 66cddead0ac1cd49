"""Load any file's weights into a backbone, all of them or none."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log
from torch import Tensor, nn

from .architecture import MIN_MATCH, check_complete, shapes_of
from .files import named_tensors, read_tensors
from .names import EVALUATED, LAYOUTS, ONLINE, Layout, count_starts, few

PREFERRED = dict(auto=ONLINE, evaluated=EVALUATED)
PROBED = dict(auto='evaluated', teacher='teacher.backbone.', student='backbone.')


class LoadedWeights(NamedTuple):
    """What :func:`load_backbone` did."""

    prefix: str
    matched: int
    total: int
    missing: list[str]


class Selected(NamedTuple):
    """Tensors for a backbone under its own names, their layout and prefix, what is missing."""

    weights: dict[str, Tensor]
    layout: Layout | None
    prefix: str
    missing: list[str]


def load_backbone(
    backbone: nn.Module, path: str | Path, prefix: str = 'auto', min_match: float = MIN_MATCH
) -> LoadedWeights:
    """Copy the weights of a file into a backbone; an error if they do not fit.

    mmengine's ``init_cfg=dict(type='Pretrained')`` only warns and leaves a backbone
    random where no name matches. Names of other codes (:data:`~.names.LAYOUTS`) are
    recognized. The position embedding of another image size is resized by mmpretrain's
    ViT itself, which says so in the log.

    Args:
        backbone (nn.Module): Receives the weights.
        path (str or Path): See :func:`~.files.load_weights`.
        prefix (str): What stands before the backbone's names, such as ``'backbone.'``,
            ``'target.backbone.'`` or ``''``; without ``module.``. ``'auto'``: the prefix
            under which most names match, of several the online network's.
            ``'evaluated'``: likewise, but of DINO the teacher's.
        min_match (float): Share of the backbone's parameters and statistics that the file
            must hold; counters of batches are not counted.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Fewer match, the file is of another architecture, several networks
            match, or the file cannot be read.
    """
    selected = select_weights(backbone, read_tensors(path), prefix, str(path), min_match)
    backbone.load_state_dict(selected.weights, strict=False)
    total = len(shapes_of(backbone))
    loaded = LoadedWeights(selected.prefix, total - len(selected.missing), total, selected.missing)
    left = f'; left as they were: {loaded.missing}' if loaded.missing else ''
    print_log(
        f'{type(backbone).__name__}: {loaded.matched} of {total} tensors from {path}, prefix '
        f'{loaded.prefix!r}{left}',
        logger='current',
    )
    if selected.layout is not None and selected.layout.note:
        print_log(f'{path}: {selected.layout.note}', logger='current', level=logging.WARNING)
    return loaded


def select_weights(
    backbone: nn.Module,
    tensors: Mapping[str, Tensor],
    prefix: str = 'auto',
    where: str = 'the checkpoint',
    min_match: float = MIN_MATCH,
) -> Selected:
    """Choose the tensors that belong to a backbone and give them its names.

    Args:
        backbone, prefix, min_match: See :func:`load_backbone`.
        tensors (mapping): Of the file, see :func:`~.files.named_tensors`.
        where (str): The file's name, for messages.
    """
    shapes = shapes_of(backbone)
    found = {
        (layout, start): count
        for layout in (None, *LAYOUTS)
        for start, count in find_prefixes(tensors, _theirs(layout, shapes)).items()
    }
    layout, start = _choose(found, len(shapes), prefix, where)
    if layout is None:
        given = {n[len(start) :]: v for n, v in tensors.items() if n.startswith(start)}
    else:
        names = layout.names_under(start, tensors)
        given = {ours: tensors[theirs] for ours, theirs in names.items()}
    offers = [f'{p!r} ({n} names)' for (_, p), n in found.items() if 2 * n > len(shapes)]
    offer = ', '.join(dict.fromkeys(offers)) or (
        f'none that fits; its names begin with {few(count_starts(tensors))}'
    )
    fix = (
        f'. Its prefix was taken to be {start!r}; prefixes in the file: {offer}. Give the right '
        'prefix= (of a probe model.network=), or the backbone config that the file was trained with'
    )
    title, resizes = type(backbone).__name__, hasattr(backbone, 'resize_pos_embed')
    missing = check_complete(title, shapes, given, where, min_match, fix, resizes)
    own = backbone.state_dict()
    weights = {name: given[name] for name in own if name in given}
    return Selected(weights, layout, start, missing)


def find_prefixes(names: Iterable[str], wanted: set[str]) -> dict[str, int]:
    """How many of the wanted names stand under each prefix, most first."""
    counts: dict[str, int] = {}
    for name in names:
        for start in (0, *(match.end() for match in re.finditer('[./]', name))):
            if name[start:] in wanted:
                counts[name[:start]] = counts.get(name[:start], 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def take_pretraining_weights(model: nn.Module, network: str = 'auto', own: str = '') -> None:
    """Let ``load_state_dict`` of a model fill its ``backbone`` from any pretraining's weights.

    A hook renames the weights of one network and drops the others.

    Args:
        model (nn.Module): Has a ``backbone``.
        network (str): ``'auto'``: of DINO the teacher, of any other method the online
            network. ``'teacher'``, ``'student'``, or a prefix such as
            ``'momentum_encoder.module.0.'``.
        own (str): A name that only the model's own checkpoints have; these load as usual.

    Raises:
        ValueError: On loading, see :func:`load_backbone`.
    """

    def rename(model: nn.Module, state_dict: dict, prefix: str, *args: Any) -> None:
        if prefix or own and own in state_dict:
            return
        tensors = named_tensors(dict(state_dict), 'the checkpoint')
        backbone: Any = model.backbone
        chosen = select_weights(backbone, tensors, PROBED.get(network, network))
        print_log(
            f'{type(model).__name__} takes the weights named {chosen.prefix + "*"!r}',
            logger='current',
        )
        state_dict.clear()
        state_dict.update({f'backbone.{name}': v for name, v in chosen.weights.items()})

    model._register_load_state_dict_pre_hook(rename, with_module=True)


def _theirs(layout: Layout | None, names: Iterable[str]) -> set[str]:
    if layout is None:
        return set(names)
    return {theirs for theirs in map(layout.to_theirs, names) if theirs is not None}


def _choose(
    found: dict[tuple[Layout | None, str], int], total: int, prefix: str, where: str
) -> tuple[Layout | None, str]:
    """The layout and prefix under which most names match."""
    preferred: Sequence[str] = PREFERRED.get(prefix, ())
    if prefix not in PREFERRED:
        prefix = re.sub(r'^(module\.)+', '', f'{prefix}.' if prefix[-1:].isalnum() else prefix)
        found = {place: count for place, count in found.items() if place[1] == prefix}
    else:
        prefix = ''
    most = max(found.values(), default=0)
    if 2 * most < total:  # chance matches of names such as conv1.weight
        return None, prefix
    best: dict[str, Layout | None] = {}
    for (layout, start), count in found.items():
        if count == most:
            best.setdefault(start, layout)
    for start in preferred:
        if start in best:
            return best[start], start
    if len(best) > 1:
        raise ValueError(
            f'{where} holds several networks that fit, {list(best)}: choose one with prefix='
        )
    return next((layout, start) for start, layout in best.items())
