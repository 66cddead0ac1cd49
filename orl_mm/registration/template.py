"""A template: where named parts are expected in an image."""

import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from skimage.draw import polygon as polygon_pixels

from orl_mm.io.atomic import write_atomic
from orl_mm.io.image_list import read_text

SHIPPED = Path(__file__).parent / 'templates'
SUBPIXELS = 8  # a polygon's share of a cell is counted on 8 x 8 points


@dataclass(frozen=True)
class Template:
    """Maps of R named parts (thesis 3.2, the knowledge map K).

    Convention:
        The maps cover the whole image, whatever its size or aspect ratio: the cell in row i and
        column j of (h, w) covers the rows [i / h, (i + 1) / h) of the image's height and the
        columns [j / w, (j + 1) / w) of its width. Sides are the patient's: the left lung is
        on the viewer's right.

    Args:
        parts (tuple): R names, each once. Parts may overlap.
        maps (np.ndarray): (R, h, w) float32 in [0, 1].
        provenance (dict): What it was made of; anything that JSON holds.

    Raises:
        ValueError: Names and maps that do not fit, or values outside [0, 1].
    """

    parts: tuple[str, ...]
    maps: np.ndarray
    provenance: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, 'parts', tuple(self.parts))
        maps = np.ascontiguousarray(self.maps, np.float32)
        object.__setattr__(self, 'maps', maps)
        if maps.ndim != 3 or not maps.size or len(maps) != len(self.parts):
            raise ValueError(
                f'a template of the parts {list(self.parts)} needs maps '
                f'({len(self.parts)}, h, w), got {maps.shape}'
            )
        if len(set(self.parts)) != len(self.parts):
            raise ValueError(f'part names must differ, got {list(self.parts)}')
        empty = [part for part, area in zip(self.parts, maps, strict=True) if not area.any()]
        if empty:
            raise ValueError(
                f'a template of {empty} has no area: correct it, or leave the part out'
            )
        low, high = float(maps.min()), float(maps.max())
        if not 0.0 <= low <= high <= 1.0:  # False for NaN
            raise ValueError(
                f'maps of a template must lie in [0, 1], got {low:g} to {high:g}: '
                'divide masks stored as 0 and 255 by 255'
            )


def read_template(path: str | Path, size: int = 256) -> Template:
    """Read a template file.

    Args:
        path (str or Path): ``.json``: polygons, see :func:`draw_polygons`; or the name of a
            shipped one, ``'cxr_triangles'``. ``.npz``: what :func:`write_template` wrote.
        size (int): Side of the maps that polygons are drawn on.

    Returns:
        Template

    Raises:
        FileNotFoundError: No such file.
        ValueError: A file that is neither, is damaged, or holds no valid template.
    """
    path = Path(path).expanduser()
    shipped = SHIPPED / f'{path}.json'
    if not path.exists() and shipped.is_file():
        path = shipped
    if not path.is_file():
        names = sorted(file.stem for file in SHIPPED.glob('*.json'))
        raise FileNotFoundError(
            f'there is no template {path}; make a folder of registered ones with '
            'tools/register_templates.py or a .npz file with tools/average_template.py, write a '
            f'.json file of polygons, or take one of those shipped: {names}'
        )
    if path.suffix == '.json':
        return _read_polygons(path, size)
    if path.suffix != '.npz':
        raise ValueError(f'template {path} must be a .json file of polygons or a .npz file of maps')
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file['about']))
            return Template(about['parts'], file['maps'], about['provenance'])
    except (KeyError, TypeError, zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise ValueError(
            f'{path} holds no template ({error}): it needs the arrays `maps` and '
            '`about`, as write_template stores them'
        ) from error


def write_template(path: str | Path, template: Template) -> None:
    """Write a template as ``.npz`` in one atomic write.

    Arrays ``maps`` (R, h, w) float32 and ``about``, a JSON text with ``parts`` and
    ``provenance``; nothing is pickled.

    Raises:
        ValueError: A path that does not end in ``.npz``.
    """
    path = Path(path)
    if path.suffix != '.npz':
        raise ValueError(f'a template is written as .npz, got {path}')
    about = json.dumps(dict(parts=list(template.parts), provenance=template.provenance))
    content = io.BytesIO()
    np.savez_compressed(content, maps=template.maps, about=np.array(about))
    write_atomic(path, content.getvalue())


def draw_polygons(polygons: list, height: int, width: int) -> np.ndarray:
    """The share of each cell that polygons cover.

    Args:
        polygons (list): Of polygons, each a list of at least 3 corners [x, y] as shares of
            the image's width and height, in [0, 1], x to the right and y downwards.
        height, width (int): Size of the map.

    Returns:
        np.ndarray: (height, width) float32 in [0, 1], the union of the polygons.

    Raises:
        ValueError: Corners of another form or outside [0, 1].
    """
    fine = np.zeros((height * SUBPIXELS, width * SUBPIXELS), bool)
    for polygon in polygons:
        try:
            corners = np.asarray(polygon, np.float64).reshape(-1, 2)
        except (TypeError, ValueError) as error:
            raise ValueError(f'a polygon is a list of corners [x, y], got {polygon!r}') from error
        if len(corners) < 3 or not (corners.min() >= 0 and corners.max() <= 1):
            raise ValueError(
                'a polygon needs at least 3 corners within [0, 1], shares of the '
                f"image's width and height, got {corners.tolist()}"
            )
        x, y = (corners * fine.shape[::-1] - 0.5).T  # pixel i of the raster is the point i + 0.5
        fine[polygon_pixels(y, x, fine.shape)] = True
    cells = fine.reshape(height, SUBPIXELS, width, SUBPIXELS)
    return cells.mean((1, 3), dtype=np.float32)


def _read_polygons(path: Path, size: int) -> Template:
    try:
        content = json.loads(read_text(str(path)), object_pairs_hook=_without_repeats)
        polygons = dict(content['parts'])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{path} holds no polygons ({error}): it must be '
            '{"parts": {"name": [[[x, y], [x, y], [x, y], ...], ...]}}'
        ) from error
    if not polygons:
        raise ValueError(f'{path} names no part')
    provenance = dict(kind='polygons', file=path.name, comment=content.get('comment', ''))
    try:
        maps = np.stack([draw_polygons(value, size, size) for value in polygons.values()])
        return Template(tuple(polygons), maps, provenance)
    except (ValueError, TypeError) as error:
        raise ValueError(f'{path}: {error}') from error


def _without_repeats(pairs: list[tuple]) -> dict:
    """A dict of a json object, in which python would keep the last of equal keys."""
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f'the keys {twice} are there more than once')
    return dict(pairs)
