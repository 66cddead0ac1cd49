"""Assess a registration without ground truth, and describe its outcome."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from .contrast import warp_image, warp_labels

STATUSES = ('deformable', 'affine', 'template')
CONTRAST = 1 / 16
"""``prepare``'s contrast of the images whose similarity is measured, whatever was registered."""


@dataclass(frozen=True)
class Quality:
    """Measures of one registration.

    Attributes:
        similarity (tuple): For each part, the correlation of image and warped exemplar in and
            around the warped part, in [-1, 1]; 0 where the part left the image.
        area (tuple): For each part, its area after warping divided by that in the exemplar.
        folded (float): Share of the pixels where the deformation folds.
    """

    similarity: tuple[float, ...]
    area: tuple[float, ...]
    folded: float


@dataclass(frozen=True)
class Checks:
    """Acceptance thresholds of a registration.

    The similarities were set on 267 X-rays of three hospitals (47 of JSRT, 110 of Montgomery, 110
    of Shenzhen), registered poorly, without the coarse search: all 109 results with a mean Dice
    below 0.8 are below 0.6, and so are 6 of the 135 above 0.85. They cannot detect a misplaced
    part without edges of its own, such as the lower border of the heart: the images agree, and
    Dice is 0.7.

    Args:
        similarity (float): Lowest correlation of any part, after B-splines.
        affine_similarity (float): The same for the affine result, which fits less closely.
        folded (float): Largest share of folded pixels.
        area (float): Largest factor by which a part may grow or shrink.
        margin (float): How far around a part images are compared, as a share of the side.

    Raises:
        ValueError: A value out of range.
    """

    similarity: float = 0.6
    affine_similarity: float = 0.4
    folded: float = 0.001
    area: float = 5.0
    margin: float = 0.05

    def __post_init__(self) -> None:
        limits = dict(similarity=(-1, 1), affine_similarity=(-1, 1), folded=(0, 1), margin=(0, 1))
        for name, (low, high) in dict(limits, area=(1, math.inf)).items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f'{name}={getattr(self, name)} must be between {low} and {high}')

    def to_dict(self) -> dict:
        """As JSON values."""
        return asdict(self)

    def reason(self, quality: Quality, parts: Sequence[str], affine: bool = False) -> str | None:
        """Why a result (of the affine stage only, or of both) is rejected; None if it is not."""
        least = self.affine_similarity if affine else self.similarity
        if quality.folded > self.folded:
            return f'{quality.folded:.2%} of the field folded'
        for part, value in zip(parts, quality.similarity, strict=False):
            if not value >= least:
                return f'similarity {value:.2f} at {part}'
        for part, factor in zip(parts, quality.area, strict=False):
            if not 1 / self.area <= factor <= self.area:
                return f'{part} has {factor:.2f} times its area'
        return None


@dataclass(frozen=True)
class Outcome:
    """The result of registering the exemplar to one image.

    Attributes:
        status (str): One of :data:`STATUSES`.
        reason (str): Why it is not ``'deformable'``.
        quality (Quality, optional): Of the deformable result; None if there is none.
        masks (np.ndarray, optional): (R, S, S) uint8 0/1; None when read from a note.
    """

    status: str
    reason: str
    quality: Quality | None
    masks: np.ndarray | None = None

    def note(self) -> str:
        """Everything but the masks as one line of JSON, for the cache's entry."""
        quality = self.quality and dict(
            s=[round(v, 3) for v in self.quality.similarity],
            a=[round(v, 2) for v in self.quality.area],
            f=round(self.quality.folded, 5),
        )
        return json.dumps(
            dict(status=self.status, reason=self.reason[:200], q=quality), separators=(',', ':')
        )

    @classmethod
    def from_note(cls, note: str) -> 'Outcome':
        """Read :meth:`note` back.

        Raises:
            ValueError: Something else.
        """
        try:
            found = json.loads(note)
            q = found['q'] and Quality(
                tuple(found['q']['s']), tuple(found['q']['a']), found['q']['f']
            )
            return cls(found['status'], found['reason'], q or None)
        except (KeyError, TypeError) as error:
            raise ValueError(f'no note of a registration: {note!r}') from error


def assess(
    fixed: np.ndarray,
    moving: np.ndarray,
    masks: np.ndarray,
    positions: np.ndarray,
    margin: float = Checks.margin,
) -> tuple[np.ndarray, Quality]:
    """Warp the parts, and measure how well the images agree around them.

    Args:
        fixed, moving (np.ndarray): (S, S) float32, prepared with :data:`CONTRAST`.
        masks (np.ndarray): (R, S, S) 0/1 of the exemplar (moving).
        positions (np.ndarray): (S, S, 2), see :class:`~orl_mm.registration.elastix.Deformation`.
        margin (float): See :class:`Checks`.

    Returns:
        tuple: The warped parts (R, S, S) uint8, and their :class:`Quality`.
    """
    warped = warp_labels(masks, positions)
    image = warp_image(moving, positions)
    radius = max(1, round(margin * fixed.shape[0]))
    window = np.ones((2 * radius + 1,) * 2, np.uint8)
    near = [cv2.dilate(part, window) > 0 for part in warped]
    return warped, Quality(
        tuple(correlation(fixed[n], image[n]) for n in near),
        tuple(float(a.sum() / b.sum()) for a, b in zip(warped, masks, strict=False)),
        folded_share(positions),
    )


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation; 0 where one side is constant or empty."""
    if not a.size:
        return 0.0
    a, b = (v - v.mean(dtype=np.float64) for v in (a, b))
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 1e-9 else 0.0


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice's coefficient of two masks, 2 |A and B| / (|A| + |B|); 1 where both are empty."""
    a, b = a.astype(bool), b.astype(bool)
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def jacobian_determinant(positions: np.ndarray) -> np.ndarray:
    """det dT/dx of T given at pixels, by central differences (one-sided at the border).

    1 keeps areas, 2 means that a pixel of the image shows two of the exemplar, and 0 or
    less that the exemplar is folded over itself there.

    Args:
        positions (np.ndarray): (H, W, 2), T's (x, y) in pixels.

    Returns:
        np.ndarray: (H, W) float64.

    Raises:
        ValueError: Fewer than 2 pixels along a side.
    """
    if positions.ndim != 3 or positions.shape[2] != 2 or min(positions.shape[:2]) < 2:
        raise ValueError(f'positions must be (H, W, 2) with H, W >= 2, got {positions.shape}')
    dy, dx = np.gradient(np.asarray(positions, np.float64), axis=(0, 1))
    return dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]


def folded_share(positions: np.ndarray) -> float:
    """Share of the pixels where the deformation folds (or is not finite), in [0, 1]."""
    return float(np.mean(~(jacobian_determinant(positions) > 0)))
