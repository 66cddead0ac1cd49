"""Registered templates as maps of a cache: bit r of a pixel says whether part r covers it."""

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orl_mm.map_cache.reader import MapReader
from orl_mm.map_cache.spec import Made, MapSpec, decoder

from .contrast import to_grey
from .exemplar import Reference
from .quality import Outcome
from .register import register_image


@dataclass(frozen=True)
class TemplateSpec(MapSpec):
    """The exemplar of a reference, registered to each image.

    Args:
        reference (Reference): Exemplar, settings, checks and fallback.
        loader (str): JSON of the transform that decodes the images.
    """

    name, what, tool = 'templates', 'registered template', 'register_templates'
    about = dict(bits='bit r of a pixel is part r; the square covers the whole image')

    reference: Reference
    loader: str = '{"type": "LoadXray"}'

    def to_dict(self) -> dict:
        return dict(self.reference.spec(), loader=json.loads(self.loader))

    def decode(self, data: bytes, path: str) -> np.ndarray:
        """Gray levels (H, W) uint8."""
        return to_grey(decoder(self.loader)(data, path))

    def make(self, item: Any, pixels: np.ndarray) -> Made:
        outcome = register_image(pixels, self.reference)
        assert outcome.masks is not None  # None only if read from a note
        return Made(pack_parts(outcome.masks), outcome.note())

    def status(self, note: str) -> str:
        return json.loads(note)['status']


class TemplateCache(MapReader):
    """Reads registered templates back.

    Args:
        folder (str): What ``tools/register_templates.py`` wrote.
        root, check: See :class:`~orl_mm.map_cache.reader.MapReader`.

    Attributes:
        parts (tuple): R names.
        size (int): Side S of the templates.

    Raises:
        CacheError: No cache there, or one of another format.
    """

    def __init__(self, folder: str, root: str | None = None, check: str = 'pixels') -> None:
        words = ['--exemplar', 'IMAGE', '--mask', 'PART=FILE']
        super().__init__(folder, TemplateSpec, None, root, check, words)
        self.parts: tuple[str, ...] = tuple(self.provenance['spec']['parts'])
        self.size: int = self.provenance['spec']['settings']['size']

    def read(self, img_path: str, img: np.ndarray | None = None) -> np.ndarray:
        """The template of an image, (R, S, S) uint8 0/1, covering the whole image.

        Args:
            img_path (str): The image file.
            img (np.ndarray, optional): (H, W, 3) BGR or (H, W), uint8, as it was decoded now;
                without it ``check='pixels'`` compares the file's size.

        Raises:
            CacheError: See :meth:`MapReader.load`.
        """
        grey = to_grey(img) if img is not None and self.check == 'pixels' else None
        return unpack_parts(self.load(img_path, self.size, grey)[0], len(self.parts))

    def outcome(self, img_path: str) -> Outcome:
        """The outcome of an image's registration, with its masks.

        Raises:
            CacheError: See :meth:`MapReader.load`.
        """
        labels, note = self.load(img_path, self.size)
        return replace(Outcome.from_note(note), masks=unpack_parts(labels, len(self.parts)))


def pack_parts(masks: np.ndarray) -> np.ndarray:
    """(R, S, S) 0/1 to (S, S) uint16 with part r in bit r."""
    bits = 1 << np.arange(len(masks), dtype=np.uint16)
    return np.tensordot(bits, masks.astype(np.uint16), 1).astype(np.uint16)


def unpack_parts(labels: np.ndarray, count: int) -> np.ndarray:
    """(S, S) of any unsigned type to (count, S, S) uint8 0/1."""
    bits = np.arange(count, dtype=np.uint16)[:, None, None]
    return ((labels[None].astype(np.uint16) >> bits) & 1).astype(np.uint8)
