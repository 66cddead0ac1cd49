"""A backbone out of anybody's file, under our names, whole or not at all."""

import argparse
import pickle
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orl_mm.engine.checkpoint import load_weights

from .architecture import Architecture, check_complete, find_architecture
from .array_unpickler import read_npy, read_pickle
from .haiku import SAME_PADDING, read_haiku
from .layouts import HAIKU
from .sources import Found, find_backbone

_NUMPY, _ZIP, _PICKLE = b'\x93NUMPY', b'PK', b'\x80'
# torch.save before 1.6 begins with this number, pickled.
_OLD_TORCH = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)[2:-1]


@dataclass
class Backbone:
    """A backbone as it was found.

    Attributes:
        weights (dict): Names without prefix, OpenMMLab's, and tensors.
        architecture (Architecture): What they make up.
        found (Found): Whose file it is, and where in it they stood.
        missing (list): What the file lacks of it, less than 1%.
        left_out (list): What else the file holds, by its names.
        notes (list): What to know before using them.
    """

    weights: dict[str, Tensor]
    architecture: Architecture
    found: Found
    missing: list[str]
    left_out: list[str]
    notes: list[str] = field(default_factory=list)


def read_backbone(
    path: str | Path,
    source: str = 'auto',
    network: str | None = None,
    prefix: str | None = None,
    architecture: str | None = None,
) -> Backbone:
    """Read the backbone of a published file, or of a checkpoint of OpenMMLab or of ours.

    Args:
        path (str or Path): What it is shows its content, not its suffix.
        source, network, prefix: See :func:`~.sources.find_backbone`.
        architecture (str, optional): What it must be: ``'resnet50'``, ``'vit'``, ...

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is cut, or would have to run code to be read; it is not recognised, or
            not what ``source`` says; it holds less than 99% of a backbone, or another one.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'there is no file {path}')
    tensors, author = named_tensors(read_file(path))
    found = find_backbone(list(tensors), author, source, network, prefix)
    names = found.layout.ours(tensors, found.prefix)
    weights = {ours: tensors[theirs] for ours, theirs in names.items()}
    own = find_architecture(weights)
    if architecture and own.name != architecture:
        raise ValueError(f'it holds a {own.title}, not a {architecture}')
    taken = set(names.values())
    return Backbone(
        weights,
        own,
        found,
        check_complete(weights, own),
        [name for name in tensors if name not in taken],
        _notes(found),
    )


def read_file(path: Path) -> Any:
    """What a file holds, as data: torch's, numpy's, or a plain pickle of arrays."""
    with open(path, 'rb') as file:
        head = file.read(64)
    if head.startswith(_NUMPY):
        return read_npy(path)
    if head.startswith(_PICKLE) and _OLD_TORCH not in head:
        return read_pickle(path)
    # Training scripts keep their arguments so (DINO's full checkpoints, PixPro's): it is a
    # plain container, too.
    namespace = getattr(torch.serialization, 'safe_globals', None)
    if namespace is None:  # torch 2.4
        torch.serialization.add_safe_globals([argparse.Namespace])
    with namespace([argparse.Namespace]) if namespace else nullcontext():
        return load_weights(path)


def named_tensors(content: Any) -> tuple[dict[str, Tensor], Any]:
    """The tensors of a file by their names, and who it says wrote it."""
    if not isinstance(content, (dict, list, tuple)):
        raise ValueError(f'it holds a {type(content).__name__}, not names and tensors')
    from_haiku = read_haiku(content)
    if from_haiku:
        return from_haiku, None
    author, weights = None, content
    if isinstance(content, dict):
        author = content.get('author')
        for key in ('state_dict', 'model'):
            if isinstance(content.get(key), dict):
                weights = content[key]
                break
        else:
            for key in ('student', 'teacher'):  # DINO's full checkpoints
                if isinstance(content.get(key), dict):
                    weights = {
                        **weights,
                        **{f'{key}/{name}': value for name, value in content[key].items()},
                    }
    tensors = {}
    for name, value in weights.items() if isinstance(weights, dict) else ():
        if isinstance(value, Tensor):
            tensors[str(name)] = value.detach()
        elif isinstance(value, (np.ndarray, np.generic)):
            tensors[str(name)] = torch.from_numpy(np.array(value))
    if not tensors:
        inside = sorted(map(str, content)) if isinstance(content, dict) else len(content)
        raise ValueError(
            'it holds no names and tensors under "state_dict", "model", "teacher" or '
            f'directly, but {inside}'
        )
    return tensors, author


def _notes(found: Found) -> list[str]:
    notes = []
    if found.layout is HAIKU:
        notes.append(SAME_PADDING)
    if found.source.key == 'detectron2':
        notes.append(
            'a detectron2 file does not say for which images it is; the configs here want '
            'RGB and the stride in the 3x3 convolution, as torchvision, R2O and MoCo: '
            "MSRA's R-50, for one, is for BGR with the stride in the 1x1"
        )
    return notes
