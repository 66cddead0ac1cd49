"""Register the exemplar to one image: prepare both, search coarsely, run Elastix, fall back."""

import cv2
import numpy as np

from .contrast import prepare, warp_labels
from .elastix import Deformation, ElastixSettings, RegistrationError, register
from .exemplar import Reference
from .quality import CONTRAST, Outcome, assess

SIDE = 32  # pixels that the images are shrunk to
STEP = 0.11  # between the logarithms of the scales that are tried
MAX_STRETCH = 1.35  # of height against width
PAD = 0.25  # of the side, by which the exemplar's box may leave the image
MARGIN = 0.06  # of the side, around the parts


def register_image(grey: np.ndarray, reference: Reference) -> Outcome:
    """Register the exemplar to an image, and fall back if the result is rejected.

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


def coarse_fit(fixed: np.ndarray, moving: np.ndarray, masks: np.ndarray, span: float) -> np.ndarray:
    """Scales and shifts at which the exemplar around its parts correlates best with an image.

    Elastix descends from where it starts; with an image cropped wider or closer than the exemplar
    it ends in a wrong local minimum, however many iterations it has. So the box around all parts
    is resized by each of 9 x 9 scales and compared with every place of the image.

    Args:
        fixed, moving (np.ndarray): (S, S) float32, prepared alike.
        masks (np.ndarray): (R, S, S) 0/1, the exemplar's parts.
        span (float): Scales from exp(-span) to exp(span) are tried.

    Returns:
        np.ndarray: (2, 2) float64, rows a and b with exemplar = a * image + b, (x, y) in pixels
        with centers at integers.
    """
    size = fixed.shape[0]
    small, source = (
        cv2.resize(v, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for v in (fixed, moving)
    )
    pad = round(PAD * SIDE)
    small = cv2.copyMakeBorder(small, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
    box = _box(np.any(masks, axis=0))
    patch = source[box[0, 1] : box[1, 1], box[0, 0] : box[1, 0]]
    shape = np.array(patch.shape[::-1])
    best, origin, wanted = -np.inf, box[0], shape
    reach = round(span / STEP)
    scales = np.exp(STEP * np.arange(-reach, reach + 1))
    for sx, sy in np.stack(np.meshgrid(scales, scales), -1).reshape(-1, 2):
        target = np.maximum(np.rint(shape * (sx, sy)), 4).astype(int)
        if not 1 / MAX_STRETCH <= sx / sy <= MAX_STRETCH or (target > small.shape).any():
            continue
        found = cv2.matchTemplate(
            small, cv2.resize(patch, tuple(int(v) for v in target)), cv2.TM_CCOEFF_NORMED
        )
        _, score, _, place = cv2.minMaxLoc(np.nan_to_num(found, posinf=-1, neginf=-1))
        if score > best:
            best, origin, wanted = score, np.array(place) - pad, target
    scale = shape / wanted
    cell = size / SIDE  # continuous coordinates: pixel i covers [i, i + 1)
    shift = (box[0] - origin * scale) * cell
    return np.stack([scale, shift + 0.5 * scale - 0.5])


def focus(masks: np.ndarray, start: np.ndarray, margin: float) -> np.ndarray:
    """Where to compare the images: around the parts, as the coarse fit places them.

    Arms, abdomen and markers differ more from image to image than the chest does.

    Args:
        masks (np.ndarray): (R, S, S) 0/1, the exemplar's parts.
        start (np.ndarray): See :func:`coarse_fit`.
        margin (float): Distance around them, as a share of S.

    Returns:
        np.ndarray: (S, S) uint8 0/1.
    """
    size = masks.shape[-1]
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1)
    expected = warp_labels(np.any(masks, axis=0).astype(np.uint8), grid * start[0] + start[1])
    radius = max(1, round(margin * size))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return cv2.dilate(expected, disc)


def _box(mask: np.ndarray) -> np.ndarray:
    """(2, 2) int: first and one past the last (x, y) of a mask with a margin, in cells."""
    rows, cols = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    first = np.array([cols[0], rows[0]]) / mask.shape[0] - MARGIN
    last = np.array([cols[-1] + 1, rows[-1] + 1]) / mask.shape[0] + MARGIN
    return np.rint(np.clip([first, last], 0, 1) * SIDE).astype(int)
