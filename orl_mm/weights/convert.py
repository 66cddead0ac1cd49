"""Convert a backbone from one code's file into another's, for ``tools/convert_weights.py``."""

import hashlib
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from orl_mm.io.atomic import write_atomic
from orl_mm.io.checksum import with_checksum

from .architecture import Architecture, check_complete, find_architecture
from .files import read_tensors
from .names import DETECTRON2, DINO_VIT, RESNET, VIT, Found, Layout, find_backbone


@dataclass
class Backbone:
    """A backbone as it was found in a file.

    Attributes:
        weights (dict): OpenMMLab's names without prefix, and tensors.
        architecture (Architecture): The network.
        found (Found): Whose file it is, and where in it the backbone was.
        missing (list): What the file lacks of it, less than 1%.
        left_out (list): The names of what else the file holds.
    """

    weights: dict[str, Tensor]
    architecture: Architecture
    found: Found
    missing: list[str]
    left_out: list[str]


def read_backbone(
    path: str | Path,
    source: str = 'auto',
    network: str | None = None,
    prefix: str | None = None,
    architecture: str | None = None,
) -> Backbone:
    """Read the backbone of a published file, or of a checkpoint of OpenMMLab or this project.

    Args:
        path (str or Path): See :func:`~.files.load_weights`.
        source, network, prefix: See :func:`~.names.find_backbone`.
        architecture (str, optional): What it must be: ``'resnet50'``, ``'vit'``, ...

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read or is not recognized, it is not what the arguments say,
            or it holds less than 99% of a backbone.
    """
    tensors = read_tensors(path)
    if prefix is not None:
        prefix = prefix.removeprefix('module.')
    found = find_backbone(tensors, source, network, prefix)
    names = found.layout.names_under(found.prefix, tensors)
    weights = {ours: tensors[theirs] for ours, theirs in names.items()}
    own = find_architecture(weights)
    if architecture and own.name != architecture:
        raise ValueError(f'it holds a {own.title}, not a {architecture}')
    missing = check_complete(f'a {own.title}', own.shapes, weights)
    taken = set(names.values())
    return Backbone(weights, own, found, missing, [name for name in tensors if name not in taken])


def write_backbone(backbone: Backbone, out: str | Path, target: str, meta: dict[str, Any]) -> None:
    """Write a backbone for another code; an existing file is replaced when all is written.

    Args:
        backbone (Backbone): See :func:`read_backbone`.
        out (str or Path): Missing parent folders are made.
        target (str): One of :data:`TARGETS`.
        meta (dict): Kept in the file, see :func:`provenance`.

    Raises:
        ValueError: That code has no such network, or does not read files of that suffix.
    """
    out, to = Path(out), TARGETS[target]
    layout = to.vit if backbone.architecture.name == 'vit' else to.resnet
    if layout is None:
        raise ValueError(f'--to {target} has no names for a {backbone.architecture.title}')
    # detectron2 chooses its reader by the suffix; all others unpickle with torch.
    suffix = '.pkl' if target == 'detectron2' else '.pth'
    if '.pkl' in (suffix, out.suffix) and suffix != out.suffix:
        raise ValueError(f'--to {target} is read from a {suffix} file, not from {out.name}')
    # Cloned, because torch writes the whole storage of which a tensor may be a small part.
    renamed = {
        str(layout.to_theirs(name)): value.clone(memory_format=torch.contiguous_format)
        for name, value in backbone.weights.items()
    }
    buffer = io.BytesIO()
    to.write(renamed, meta, buffer)
    write_atomic(out, with_checksum(buffer.getvalue()))


def provenance(path: str | Path, backbone: Backbone) -> dict[str, str]:
    """Where a backbone is from: the file's name and SHA-256, its format, prefix and network."""
    with open(path, 'rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    return dict(
        source=Path(path).name,
        sha256=digest,
        format=backbone.found.source.title,
        prefix=backbone.found.prefix,
        network=backbone.found.network,
        architecture=backbone.architecture.title,
        notes=backbone.found.layout.note,
    )


def _write_openmmlab(weights: dict[str, Tensor], meta: dict[str, Any], file: BinaryIO) -> None:
    torch.save(dict(state_dict=weights, meta=meta), file)


def _write_bare(weights: dict[str, Tensor], meta: dict[str, Any], file: BinaryIO) -> None:
    # Only names and tensors, for load_state_dict, which ignores the attribute.
    state_dict: Any = OrderedDict(weights)
    state_dict.meta = meta
    torch.save(state_dict, file)


def _write_detectron2(weights: dict[str, Tensor], meta: dict[str, Any], file: BinaryIO) -> None:
    try:
        arrays = {name: value.cpu().numpy() for name, value in weights.items()}
    except TypeError as error:  # bfloat16
        raise ValueError(
            f'--to detectron2 holds numpy arrays: {error}; give weights in float32'
        ) from error
    content = dict(model=arrays, __author__='orl_mm', matching_heuristics=True, meta=meta)
    # numpy 1, which detectron2 often runs with, does not know numpy 2's name of the module.
    # A name of protocol 3 ends in a line feed, so its length is written nowhere.
    pickled = pickle.dumps(content, protocol=3)
    file.write(pickled.replace(b'cnumpy._core.multiarray\n', b'cnumpy.core.multiarray\n'))


class Target(NamedTuple):
    """A reader of files: its names, how a file is written, and how it is used."""

    resnet: Layout
    vit: Layout | None
    write: Callable[[dict[str, Tensor], dict[str, Any], BinaryIO], None]
    usage: str


TARGETS = dict(
    openmmlab=Target(
        RESNET,
        VIT,
        _write_openmmlab,
        "backbone=dict(..., init_cfg=dict(type='orl_mm.PretrainedBackbone', checkpoint=FILE)), or "
        "type='Pretrained'",
    ),
    torchvision=Target(
        RESNET,
        None,
        _write_bare,
        'model.load_state_dict(torch.load(FILE), strict=False), which must miss fc.weight and '
        'fc.bias only',
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
        'MODEL.WEIGHTS FILE with INPUT.FORMAT RGB, MODEL.RESNETS.STRIDE_IN_1X1 False, '
        'MODEL.PIXEL_MEAN [123.675,116.28,103.53], MODEL.PIXEL_STD [58.395,57.12,57.375]',
    ),
)
