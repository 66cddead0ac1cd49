"""Phantoms: analytic chest-like images with known masks, for use without X-rays.

They are neither X-rays nor derived from any. PHANTOM is written in a corner of every image and
in the names of files and findings.
"""

from dataclasses import dataclass

import cv2
import numpy as np

PARTS = ('left_lung', 'right_lung', 'heart')
FINDINGS = ('phantom_large_heart', 'phantom_opacity')
_CHEST = 0.36  # half the width of the ribcage, which a heart's size is relative to


@dataclass(frozen=True)
class Anatomy:
    """Parameters of a phantom; lengths are fractions of the side of the image.

    Attributes:
        angle (float): Rotation of the body in radians, clockwise for the viewer.
        scale, shift (tuple): Of the body, (x, y).
        heart (float): Cardiothoracic ratio: width of heart / width of ribcage.
        heart_x (float): Of the heart's center, from the spine to the patient's left.
        domes (tuple): Heights of the diaphragm under the left and the right lung, downwards.
        ribs (float): Ribs per unit of height.
        opacity (tuple, optional): x, y and radius of a bright blob, in the body's frame.
        exposure (tuple): Factor and exponent of the grey levels.
    """

    angle: float
    scale: tuple[float, float]
    shift: tuple[float, float]
    heart: float
    heart_x: float
    domes: tuple[float, float]
    ribs: float
    opacity: tuple[float, float, float]
    exposure: tuple[float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> 'Anatomy':
        """A random anatomy; each finding has a chance of 0.4."""
        large, opaque = rng.random(2) < 0.4
        side = rng.choice((-1, 1))
        blob = (side * rng.uniform(0.15, 0.24), rng.uniform(-0.2, 0.08), rng.uniform(0.04, 0.07))
        return cls(
            angle=np.deg2rad(rng.uniform(-6, 6)),
            scale=tuple(rng.uniform(0.88, 1.1, 2)),
            shift=tuple(rng.uniform(-0.04, 0.04, 2)),
            heart=rng.uniform(0.54, 0.64) if large else rng.uniform(0.38, 0.47),
            heart_x=rng.uniform(0.03, 0.06),
            domes=(rng.uniform(0.21, 0.26), rng.uniform(0.18, 0.23)),
            ribs=rng.uniform(11, 14),
            opacity=blob if opaque else (0.0, 0.0, 0.0),
            exposure=(rng.uniform(0.8, 1.1), rng.uniform(0.8, 1.25)),
        )


@dataclass(frozen=True)
class Phantom:
    """An image and its ground truth.

    Attributes:
        image (np.ndarray): (S, S) uint8; dense tissue is bright.
        masks (dict): Part -> (S, S) bool, sampled at pixel centers; they do not overlap.
        findings (dict): Name of :data:`FINDINGS` -> 0 or 1.
    """

    image: np.ndarray
    masks: dict[str, np.ndarray]
    findings: dict[str, int]


def make_phantom(index: int, seed: int = 0, size: int = 256) -> Phantom:
    """The phantom of an index: the same for the same index, seed and size, anywhere.

    The anatomy does not depend on the size.

    Raises:
        ValueError: A size below 64, where PHANTOM could not be read.
    """
    if size < 64:
        raise ValueError(f'size={size} must be at least 64: PHANTOM must be legible')
    rng = np.random.default_rng((seed, index))
    anatomy = Anatomy.draw(rng)
    u, v = body_frame(anatomy, size)
    levels = part_levels(anatomy, u, v)
    image = _attenuation(anatomy, u, v, levels, 1 / size) + _noise(rng, size)
    factor, exponent = anatomy.exposure
    image = factor * np.clip(image, 0, None) ** exponent
    grey = np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
    _sign(grey)
    return Phantom(grey, {part: level > 0 for part, level in levels.items()}, findings_of(anatomy))


def findings_of(anatomy: Anatomy) -> dict[str, int]:
    """The findings of an anatomy, 0 or 1; a heart is large from half the chest's width on."""
    return dict(
        zip(FINDINGS, (int(anatomy.heart > 0.5), int(anatomy.opacity[2] > 0)), strict=False)
    )


def body_frame(anatomy: Anatomy, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (S, S) of pixel centers from the middle of the chest.

    u grows to the patient's left, which is the viewer's right, v downwards.
    """
    centers = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    x, y = centers[None] - anatomy.shift[0], centers[:, None] - anatomy.shift[1]
    cos, sin = np.cos(anatomy.angle), np.sin(anatomy.angle)
    return ((cos * x + sin * y) / anatomy.scale[0]).astype(np.float32), (
        (cos * y - sin * x) / anatomy.scale[1]
    ).astype(np.float32)


def part_levels(anatomy: Anatomy, u: np.ndarray, v: np.ndarray) -> dict[str, np.ndarray]:
    """Functions that are positive inside a part, and about the distance to its edge."""
    a, b = _CHEST * anatomy.heart, 0.85 * _CHEST * anatomy.heart
    x, y = u - anatomy.heart_x, v - (np.mean(anatomy.domes) - 0.8 * b)
    heart = a * (1 - np.hypot(x / a, y / b))
    levels = {}
    for part, side, dome in zip(PARTS, (1, -1), anatomy.domes, strict=False):
        t = side * u
        lung = np.minimum(_wall(v) - t, t - (0.05 + 0.12 * np.clip(v + 0.2, 0, None) ** 2))
        lung = np.minimum(lung, dome + 2.5 * (t - 0.17) ** 2 - v)
        levels[part] = np.minimum(lung, -heart)
    return {**levels, 'heart': heart}


def _wall(v: np.ndarray) -> np.ndarray:
    """Half the width of the ribcage at a height: an ellipse with its apex at v = -0.38."""
    return _CHEST * np.sqrt(np.clip(1 - ((v - 0.06) / 0.44) ** 2, 0, None))


def _attenuation(
    anatomy: Anatomy, u: np.ndarray, v: np.ndarray, levels: dict[str, np.ndarray], pixel: float
) -> np.ndarray:
    """Brightness (S, S), about 0..1; edges are blurred over one pixel or 0.4 % of the side."""
    edge = max(pixel, 0.004)

    def inside(level, soft=edge):
        return 1 / (1 + np.exp(-np.clip(level / soft, -30, 30)))

    t = np.abs(u)
    neck = np.clip((-0.3 - v) / 0.14, 0, 1)
    body = inside(0.46 - 0.35 * neck * neck * (3 - 2 * neck) - t, 0.01)
    lungs = inside(levels['left_lung']) + inside(levels['right_lung'])
    heart = inside(levels['heart'])
    dome = np.where(u > 0, *anatomy.domes) + 2.5 * (t - 0.17) ** 2
    abdomen = inside(v - dome, 0.02) * (1 - heart)
    spine = np.exp(-((t / 0.045) ** 2)) * (0.85 + 0.15 * np.cos(2 * np.pi * v / 0.065))
    stripes = np.cos(2 * np.pi * anatomy.ribs * (v - 0.35 * t + 0.9 * t * t))
    ribs = np.clip(stripes, 0, None) ** 3 * inside(_wall(v) + 0.015 - t, 0.006) * (1 - abdomen)
    clavicles = np.exp(-(((v + 0.31 - 0.25 * (0.2 - t)) / 0.014) ** 2)) * inside(0.34 - t, 0.01)
    x, y, radius = anatomy.opacity
    blob = np.exp(-((np.hypot(u - x, v - y) / max(radius, 1e-6)) ** 2)) * (radius > 0)
    tissue = 0.5 * np.sqrt(np.clip(1 - (t / 0.52) ** 2, 0, None)) * body
    return (
        0.05
        + tissue * (1 - 0.62 * lungs)
        + 0.08 * heart
        + 0.12 * abdomen * body
        + 0.13 * spine * body
        + 0.07 * ribs
        + 0.08 * clavicles * body
        + 0.22 * blob * lungs
    ).astype(np.float32)


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Grain, and slowly varying differences as of uneven tissue."""
    slow = cv2.resize(
        rng.normal(0, 0.025, (9, 9)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
    )
    return slow + rng.normal(0, 0.012, (size, size)).astype(np.float32)


def _sign(grey: np.ndarray) -> None:
    """Write PHANTOM into the upper left corner, in place."""
    size = len(grey)
    scale = max(size / 400, 0.45)
    (width, height), below = cv2.getTextSize('PHANTOM', cv2.FONT_HERSHEY_PLAIN, scale, 1)
    grey[: height + below + 3, : width + 4] = 0
    cv2.putText(
        grey,
        'PHANTOM',
        (2, height + 2),
        cv2.FONT_HERSHEY_PLAIN,
        scale,
        255,
        max(1, size // 500),
        cv2.LINE_AA,
    )
