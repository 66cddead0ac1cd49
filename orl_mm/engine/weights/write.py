"""A backbone into a file that another code reads."""

import hashlib
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from .layouts import DETECTRON2, DINO_VIT, RESNET, VIT
from .read import Backbone
from .renaming import Renaming


class Target(NamedTuple):
    """Who reads a file: the names they use, how it is written, and how it is used."""

    resnet: Renaming
    vit: Renaming | None
    write: Callable[[dict[str, Tensor], dict[str, Any], BinaryIO], None]
    usage: str


def write_backbone(backbone: Backbone, out: str | Path, target: str, meta: dict[str, Any]) -> None:
    """Write a backbone for another code; a file that is there before is replaced at the end.

    Args:
        backbone (Backbone): See :func:`~.read.read_backbone`.
        out (str or Path): Its folder is made.
        target (str): One of :data:`TARGETS`.
        meta (dict): Kept in the file, see :func:`provenance`.

    Raises:
        ValueError: That code has no such network, or reads no file of that suffix.
    """
    out, to = Path(out), TARGETS[target]
    layout = to.vit if backbone.architecture.name == 'vit' else to.resnet
    if layout is None:
        raise ValueError(f'--to {target} has no names for a {backbone.architecture.title}')
    # detectron2 chooses its reader by the suffix, everybody else unpickles with torch.
    suffix = '.pkl' if target == 'detectron2' else '.pth'
    if '.pkl' in (suffix, out.suffix) and suffix != out.suffix:
        raise ValueError(f'--to {target} is read from a {suffix} file, not from {out.name}')
    # Cloned, since torch writes the whole of what a tensor may be a small part of.
    renamed = {
        layout.to_theirs(name): value.clone(memory_format=torch.contiguous_format)
        for name, value in backbone.weights.items()
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with _replaced(out) as file:
        to.write(renamed, meta, file)


def provenance(path: str | Path, backbone: Backbone) -> dict[str, str]:
    """Which file a backbone is from: name, SHA-256, whose, where in it, what network."""
    with open(path, 'rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    return dict(
        source=Path(path).name,
        sha256=digest,
        format=backbone.found.source.title,
        prefix=backbone.found.prefix,
        network=backbone.found.network,
        architecture=backbone.architecture.title,
        notes='; '.join(backbone.notes),
    )


def _write_openmmlab(weights: dict[str, Tensor], meta: dict[str, Any], file: BinaryIO) -> None:
    torch.save(dict(state_dict=weights, meta=meta), file)


def _write_bare(weights: dict[str, Tensor], meta: dict[str, Any], file: BinaryIO) -> None:
    # Nothing but names and tensors, for load_state_dict; an attribute is in nobody's way.
    state_dict = OrderedDict(weights)
    state_dict.meta = meta
    torch.save(state_dict, file)


def _write_detectron2(weights: dict[str, Tensor], meta: dict[str, Any], file: BinaryIO) -> None:
    try:
        arrays = {name: value.cpu().numpy() for name, value in weights.items()}
    except TypeError as error:  # bfloat16
        raise ValueError(
            f'--to detectron2 holds numpy arrays: {error}; give weights in float32'
        ) from error
    _Pickler(file, protocol=3).dump(
        dict(model=arrays, __author__='orl_mm', matching_heuristics=True, meta=meta)
    )


class _Pickler(pickle._Pickler):
    """Names numpy's function as numpy 1 and 2 both know it; numpy 2's own name stops numpy 1."""

    def save_global(self, obj: Any, name: Any = None) -> None:
        if getattr(obj, '__module__', None) == 'numpy._core.multiarray':
            self.write(pickle.GLOBAL + f'numpy.core.multiarray\n{obj.__name__}\n'.encode())
            self.memoize(obj)
        else:
            super().save_global(obj, name)


@contextmanager
def _replaced(out: Path) -> Iterator[BinaryIO]:
    new = out.with_name(f'{out.name}.part{os.getpid()}')
    try:
        with open(new, 'wb') as file:
            yield file
        os.replace(new, out)
    finally:
        new.unlink(missing_ok=True)


TARGETS = dict(
    openmmlab=Target(
        RESNET,
        VIT,
        _write_openmmlab,
        "backbone=dict(..., init_cfg=dict(type='orl_mm.PretrainedBackbone', "
        "checkpoint=FILE)), or type='Pretrained'",
    ),
    torchvision=Target(
        RESNET,
        None,
        _write_bare,
        'model.load_state_dict(torch.load(FILE), strict=False), which must miss '
        'fc.weight and fc.bias only',
    ),
    timm=Target(
        RESNET,
        DINO_VIT,
        _write_bare,
        'timm.create_model(NAME, num_classes=0, checkpoint_path=FILE)',
    ),
    detectron2=Target(
        DETECTRON2,
        None,
        _write_detectron2,
        'MODEL.WEIGHTS FILE with INPUT.FORMAT RGB, MODEL.RESNETS.STRIDE_IN_1X1 '
        'False, MODEL.PIXEL_MEAN [123.675,116.28,103.53], MODEL.PIXEL_STD '
        '[58.395,57.12,57.375]',
    ),
)
