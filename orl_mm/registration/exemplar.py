"""The exemplar that is registered to all images, its masks, and the fallback template."""

import difflib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from orl_mm.io.part_layouts import choose_parts, exchange_sides, find_samples, read_part
from orl_mm.io.xray import read_xray

from .contrast import prepare, to_grey
from .elastix import ElastixSettings, elastix_version
from .quality import CONTRAST, Checks
from .template import Template, read_template

MAX_PARTS = 16  # bits of a cache's pixel
ASPECT_TOLERANCE = 0.02
TRIANGLES = 'cxr_triangles'


@dataclass(frozen=True)
class Exemplar:
    """The segmented image that is registered to all others.

    Args:
        grey (np.ndarray): (H, W) uint8.
        masks (dict): Part -> (h, w) bool, covering the whole image; of its size, or another
            with the same aspect ratio. Parts may overlap.

    Raises:
        ValueError: No masks, too many, an empty one, or one of another shape.
    """

    grey: np.ndarray
    masks: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        if not 1 <= len(self.masks) <= MAX_PARTS:
            raise ValueError(
                f'an exemplar needs the masks of 1 to {MAX_PARTS} parts, got {len(self.masks)}'
            )
        height, width = self.grey.shape
        for part, mask in self.masks.items():
            if (
                mask.ndim != 2
                or abs(mask.shape[1] * height / (mask.shape[0] * width) - 1) > ASPECT_TOLERANCE
            ):
                raise ValueError(
                    f'the mask of {part} is {mask.shape}, which does not cover the '
                    f'image of {height} x {width} (height x width)'
                )
            if not mask.any():
                raise ValueError(f'the mask of {part} is empty: leave the part out, or correct it')

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.masks)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of the image, the masks and their names."""
        state = hashlib.blake2b(digest_size=8)
        for name, array in (('', self.grey), *self.masks.items()):
            state.update(f'{name}\0{array.shape}\0'.encode())
            state.update(np.ascontiguousarray(array, np.uint8).data)
        return state.hexdigest()

    def squashed_masks(self, size: int) -> np.ndarray:
        """(R, size, size) uint8, 1 where a part covers half of a pixel or more."""
        out = [
            cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
            for mask in self.masks.values()
        ]
        return (np.stack(out) >= 0.5).astype(np.uint8)


def read_exemplar(image: str, masks: dict[str, Sequence[str]]) -> Exemplar:
    """An exemplar from files.

    Args:
        image (str): Image file of any kind that :func:`read_xray` takes.
        masks (dict): Part -> mask files, whose union is the part.

    Raises:
        ValueError: See :class:`Exemplar`; or a file that cannot be read.
    """
    for part, paths in masks.items():
        missing = [path for path in paths if not os.path.isfile(path)]
        if missing or not paths:
            raise ValueError(f'{part} has no mask: {" ".join(missing) or "file"} does not exist')
    if not os.path.isfile(image):
        raise ValueError(f'exemplar {image} does not exist')
    return Exemplar(
        to_grey(read_xray(image)), {part: read_part(list(paths)) for part, paths in masks.items()}
    )


def find_exemplar(
    root: str, exemplar_id: str, layout: str = 'auto', parts: Sequence[str] | None = None
) -> Exemplar:
    """An image of a parts data set, by its id.

    Args:
        root, layout, parts: As in :class:`~orl_mm.datasets.ChestXRayParts`.
        exemplar_id (str): The stem of its file.

    Raises:
        ValueError: See :func:`read_exemplar`; or no such image.
    """
    samples = {sample.id: sample for sample in find_samples(root, layout)}
    exchange_sides(list(samples.values()), root)
    if exemplar_id in samples:
        sample = samples[exemplar_id]
        names = choose_parts([sample], parts, root)
        return read_exemplar(sample.img_path, {p: sample.part_paths[p] for p in names})
    near = difflib.get_close_matches(exemplar_id, samples, 1)
    raise ValueError(
        f'{root} has no image {exemplar_id!r}' + (f'; did you mean {near[0]!r}?' if near else '')
    )


@dataclass(frozen=True)
class Reference:
    """Exemplar, settings and fallback, ready for use; small enough to be sent to workers.

    Args:
        parts (tuple): R names.
        moving (np.ndarray): (S, S) float32, the exemplar's image as ``prepare`` makes it.
        seen (np.ndarray): (S, S) float32, the same as the checks compare it.
        masks (np.ndarray): (R, S, S) uint8 0/1, its parts.
        fallback (np.ndarray): (R, S, S) uint8 0/1, the global template.
        settings (ElastixSettings): Its ``size`` is S.
        checks (Checks): Acceptance thresholds of a registration.
        digest (str): Of the exemplar.
        fallback_name (str): What the fallback is.
    """

    parts: tuple[str, ...]
    moving: np.ndarray
    seen: np.ndarray
    masks: np.ndarray
    fallback: np.ndarray
    settings: ElastixSettings
    checks: Checks
    digest: str
    fallback_name: str

    def spec(self) -> dict:
        """What the templates depend on, as JSON values."""
        digest = hashlib.blake2b(np.packbits(self.fallback).data, digest_size=4).hexdigest()
        return dict(
            method='exemplar registered with Elastix: affine, then B-spline',
            library=elastix_version(),
            parts=list(self.parts),
            exemplar=self.digest,
            settings=self.settings.to_dict(),
            checks=self.checks.to_dict(),
            fallback=f'{self.fallback_name} {digest}',
        )


def make_reference(
    exemplar: Exemplar,
    settings: ElastixSettings | None = None,
    checks: Checks | None = None,
    fallback: str | None = None,
) -> Reference:
    """Prepare an exemplar for many registrations.

    Args:
        exemplar (Exemplar): Image and masks.
        settings, checks (optional): Defaults: those of their classes.
        fallback (str, optional): A template file (see ``read_template``) with at least the
            exemplar's parts. Default: the shipped triangles if they have all parts, else
            the exemplar's own masks where they are.

    Raises:
        ValueError: A part that the fallback lacks, or that vanishes at the settings' size.
    """
    settings, checks = settings or ElastixSettings(), checks or Checks()
    masks = exemplar.squashed_masks(settings.size)
    _check_not_empty(exemplar.parts, masks, f'at {settings.size} x {settings.size} pixels')
    template = read_template(fallback or TRIANGLES, settings.size)
    lacking = [part for part in exemplar.parts if part not in template.parts]
    if lacking and fallback:
        raise ValueError(
            f'the fallback {fallback} lacks {", ".join(lacking)}; it has '
            f'{", ".join(template.parts)}'
        )
    name, maps = fallback or TRIANGLES, masks
    if lacking:
        name = "the exemplar's own masks"
    else:
        maps = _maps(template, exemplar.parts, settings.size)
        _check_not_empty(exemplar.parts, maps, f'in the fallback {name} at one half')
    moving, seen = (
        prepare(exemplar.grey, settings.size, contrast)
        for contrast in (settings.contrast, CONTRAST)
    )
    return Reference(
        exemplar.parts, moving, seen, masks, maps, settings, checks, exemplar.digest, name
    )


def _maps(template: Template, parts: tuple[str, ...], size: int) -> np.ndarray:
    """A template's maps of some parts, thresholded at one half."""
    maps = [
        cv2.resize(
            template.maps[template.parts.index(part)], (size, size), interpolation=cv2.INTER_AREA
        )
        for part in parts
    ]
    return (np.stack(maps) >= 0.5).astype(np.uint8)


def _check_not_empty(parts: tuple[str, ...], masks: np.ndarray, where: str) -> None:
    empty = [part for part, mask in zip(parts, masks, strict=False) if not mask.any()]
    if empty:
        raise ValueError(f'nothing is left of {", ".join(empty)} {where}')
