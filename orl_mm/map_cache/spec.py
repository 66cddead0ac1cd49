"""What a cache holds: the base class of superpixels, templates and converted images."""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import cv2
import numpy as np

from orl_mm.registry import TRANSFORMS


@dataclass(frozen=True)
class Made:
    """What was computed for one image.

    Attributes:
        array (np.ndarray): (H, W) integers, stored in the entry.
        note (str): Stored beside it, see :attr:`MapSpec.lists`.
        files (dict): Further files to write before the entry: path below the cache -> bytes.
    """

    array: np.ndarray
    note: str = ''
    files: dict[str, bytes] = field(default_factory=dict)


class MapSpec(ABC):
    """One map for each image: how it is computed, and all that it depends on.

    Subclasses are picklable values, because they are sent to worker processes. An item stands
    for an image; here it is the image's path below the root, and the map of ``a/b.jpg`` is
    stored as ``a/b.jpg.png``.
    """

    name: ClassVar[str]
    """The provenance is stored in ``NAME.json``."""
    what: ClassVar[str]
    """What one map is called in messages."""
    tool: ClassVar[str]
    """The command that builds the cache."""
    out_is_positional: ClassVar[bool] = False
    """Whether its arguments name the cache without ``--out``."""
    lists: ClassVar[dict[str, str]] = {}
    """Status -> text file that lists the images of this status."""
    about: ClassVar[dict[str, str]] = {}
    """Remarks for the provenance file."""

    @abstractmethod
    def to_dict(self) -> dict:
        """All that the maps depend on besides the image, as JSON values."""

    @abstractmethod
    def make(self, item: Any, pixels: np.ndarray) -> Made:
        """Compute the map of an image from what :meth:`decode` returned.

        Raises:
            UnreadableImageError: The item is listed as unreadable.
        """

    def decode(self, data: bytes, path: str) -> np.ndarray:
        """The bytes of an image file to the pixels that the map depends on."""
        raise NotImplementedError

    def source(self, item: Any) -> str | None:
        """Path of the image, absolute or below the root; None if there is no image."""
        return item

    def target(self, item: Any) -> str:
        """Path of the entry below the cache."""
        return f'{item}.png'

    def status(self, note: str) -> str:
        """The status of a finished map, which is counted and listed, from its note."""
        return note

    @property
    def options(self) -> Sequence[int]:
        """Parameters of ``cv2.imencode`` for the entries."""
        return (cv2.IMWRITE_PNG_COMPRESSION, 6)

    def words(self) -> list[str]:
        """The arguments of the tool that name this spec, beside those that name the images."""
        return []

    @cached_property
    def key(self) -> str:
        """Eight hexadecimal digits, different for different specs."""
        return spec_key(self.to_dict())


def spec_key(spec: dict) -> str:
    """The key of a spec as it is stored in the provenance."""
    text = json.dumps(spec, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


@lru_cache(maxsize=8)
def decoder(loader: str) -> Callable[[bytes, str], np.ndarray]:
    """The ``decode`` method of a loading transform: bytes and path to (H, W, 3) uint8, BGR.

    Args:
        loader (str): JSON of its config, such as ``'{"type": "LoadXray"}'``.
    """
    config = json.loads(loader)
    return TRANSFORMS.build(dict(config, type=f'orl_mm.{config["type"]}')).decode


def relative_path(path: str, root: str) -> str:
    """An image's path below the root, through symbolic links if need be.

    Raises:
        ValueError: The image lies elsewhere.
    """
    for resolve in (os.path.abspath, os.path.realpath):
        relative = os.path.relpath(resolve(path), resolve(root))
        if relative.split(os.sep)[0] != os.pardir:
            return relative
    raise ValueError(
        f'{path} does not lie below the root {root}: give the folder that holds the images '
        'with root=... (or --root)'
    )
