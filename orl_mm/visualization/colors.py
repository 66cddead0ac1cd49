"""One colour per object id: the same in every image, and for every number of objects."""

from functools import lru_cache

import numpy as np
from skimage.color import rgb2lab

# Okabe and Ito (2008), made to be told apart with every kind of colour vision.
_FIRST = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)

# Linear RGB as seen without the middle cones (Machado 2009, severity 1).
_DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)


def as_seen_by_deuteranopes(colors: np.ndarray) -> np.ndarray:
    """Colours (N, 3) uint8 as the most common colour blindness shows them, uint8."""
    share = colors.astype(np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ _DEUTERANOPIA.T, 0, 1)
    back = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    return np.round(back * 255).astype(np.uint8)


def object_colors(num: int) -> np.ndarray:
    """Colours of the ids 0 .. num-1, uint8 RGB (num, 3).

    The colour of an id does not depend on ``num``, so the same id has the same
    colour in every picture. The first seven are Okabe and Ito's; each further
    one is, of a grid of well visible colours, the farthest from all before it,
    where the distance of two colours is the smaller of the two that normal and
    red-green-blind eyes see (Euclidean in CIELAB). Beyond 256 they repeat.

    Raises:
        ValueError: ``num`` is negative.
    """
    if num < 0:
        raise ValueError(f'num must be >= 0, got {num}')
    palette = _palette()
    return palette[np.arange(num) % len(palette)]


@lru_cache(maxsize=1)
def _palette(size: int = 256) -> np.ndarray:
    levels = np.linspace(0, 255, 12).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    lab = _lab(grid)
    # Neither near black or white nor near grey: those belong to the picture.
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    keep = (lab[:, 0] > 30) & (lab[:, 0] < 92) & (chroma > 25)
    pool = np.concatenate([np.array(_FIRST, np.uint8), grid[keep]])
    seen = [_lab(pool), _lab(as_seen_by_deuteranopes(pool))]
    nearest = np.full(len(pool), np.inf)
    chosen = []
    while len(chosen) < size:
        new = len(chosen) if len(chosen) < len(_FIRST) else int(nearest.argmax())
        chosen.append(new)
        nearest = np.minimum(
            nearest, np.minimum(*(np.linalg.norm(space - space[new], axis=1) for space in seen))
        )
    palette = pool[chosen]
    palette.setflags(write=False)
    return palette


def _lab(colors: np.ndarray) -> np.ndarray:
    return rgb2lab(colors[None])[0]
