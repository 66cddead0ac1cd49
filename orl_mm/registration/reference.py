"""All that an image is registered with, and its provenance."""

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np

from orl_mm.registration.contrast import prepare
from orl_mm.registration.elastix import elastix_version
from orl_mm.registration.elastix_settings import ElastixSettings
from orl_mm.registration.exemplar import Exemplar
from orl_mm.registration.quality import CONTRAST, Checks
from orl_mm.registration.template import Template, read_template

TRIANGLES = 'cxr_triangles'


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
        checks (Checks): What a registration must fulfil.
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
        content = np.packbits(self.fallback)
        return dict(
            method='exemplar registered with Elastix: affine, then B-spline',
            library=elastix_version(),
            parts=list(self.parts),
            exemplar=self.digest,
            settings=self.settings.to_dict(),
            checks=self.checks.to_dict(),
            fallback=f'{self.fallback_name} {hashlib.blake2b(content, digest_size=4).hexdigest()}',
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
    _refuse_empty(exemplar.parts, masks, f'at {settings.size} x {settings.size} pixels')
    name, maps = fallback, None
    if fallback is None:
        triangles = read_template(TRIANGLES, settings.size)
        if set(exemplar.parts) <= set(triangles.parts):
            name, maps = TRIANGLES, _maps(triangles, exemplar.parts, settings.size)
        else:
            name, maps = "the exemplar's own masks", masks
    else:
        template = read_template(fallback, settings.size)
        lacking = [part for part in exemplar.parts if part not in template.parts]
        if lacking:
            raise ValueError(
                f'the fallback {fallback} lacks {", ".join(lacking)}; it has '
                f'{", ".join(template.parts)}'
            )
        maps = _maps(template, exemplar.parts, settings.size)
        _refuse_empty(exemplar.parts, maps, f'in the fallback {fallback} at one half')
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


def _refuse_empty(parts: tuple[str, ...], masks: np.ndarray, where: str) -> None:
    empty = [part for part, mask in zip(parts, masks, strict=False) if not mask.any()]
    if empty:
        raise ValueError(f'nothing is left of {", ".join(empty)} {where}')
