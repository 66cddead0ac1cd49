"""One image: deformable if it is good, else affine, else the global template."""

import numpy as np

from orl_mm.registration.contrast import prepare
from orl_mm.registration.elastix import Deformation, RegistrationError, register
from orl_mm.registration.elastix_settings import ElastixSettings
from orl_mm.registration.outcome import Outcome
from orl_mm.registration.quality import CONTRAST, assess
from orl_mm.registration.reference import Reference
from orl_mm.registration.search import coarse_fit, focus


def register_image(grey: np.ndarray, reference: Reference) -> Outcome:
    """Register the exemplar to an image, and fall back where that went wrong.

    Args:
        grey (np.ndarray): (H, W) uint8.
    """
    settings, checks = reference.settings, reference.checks
    fixed = seen = prepare(grey, settings.size, settings.contrast)
    if settings.contrast != CONTRAST:
        seen = prepare(grey, settings.size, CONTRAST)
    if float(np.ptp(fixed)) < 1e-6:
        return Outcome('template', 'the image is constant', None, reference.fallback)
    try:
        deformation = align(fixed, reference.moving, reference.masks, settings)
    except RegistrationError as error:
        return Outcome('template', str(error), None, reference.fallback)
    reasons, first = [], None
    for status, positions in (
        ('deformable', deformation.deformable),
        ('affine', deformation.affine),
    ):
        if positions is None:
            reasons.append(f'{status}: {deformation.failure}')
            continue
        masks, quality = assess(seen, reference.seen, reference.masks, positions, checks.margin)
        first = first or quality
        reason = checks.reason(quality, reference.parts, status == 'affine')
        if reason is None:
            return Outcome(status, '; '.join(reasons), first, masks)
        reasons.append(f'{status}: {reason}')
    return Outcome('template', '; '.join(reasons), first, reference.fallback)


def align(
    fixed: np.ndarray, moving: np.ndarray, masks: np.ndarray, settings: ElastixSettings
) -> Deformation:
    """Coarse search, affine transform, B-splines; images are compared around the parts only.

    Args:
        fixed, moving (np.ndarray): (S, S) float32, prepared alike.
        masks (np.ndarray): (R, S, S) 0/1, the exemplar's parts.

    Raises:
        RegistrationError: See :func:`~orl_mm.registration.elastix.register`.
    """
    if not settings.search:
        return register(fixed, moving, settings)
    start = coarse_fit(fixed, moving, masks, settings.search)
    if not settings.focus:
        return register(fixed, moving, settings, start)
    where = focus(masks, start, settings.focus)
    return register(fixed, moving, settings, start, where if where.any() else None)
