"""Photographs that scikit-image and scikit-learn include in their packages."""

from collections.abc import Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from mmengine.dist import barrier, is_main_process
from PIL import Image

from orl_mm.io.atomic import write_atomic
from orl_mm.registry import DATASETS

from .image_list import ImageList

# Name of the photograph -> package and file. Files, not skimage.data functions:
# those may download what a wheel does not hold.
PHOTOS: dict[str, tuple[str, str]] = dict(
    astronaut=('skimage', 'data/astronaut.png'),
    cat=('skimage', 'data/chelsea.png'),
    coffee=('skimage', 'data/coffee.png'),
    flower=('sklearn', 'datasets/images/flower.jpg'),
    motorcycle=('skimage', 'data/motorcycle_left.png'),
    palace=('sklearn', 'datasets/images/china.jpg'),
    rocket=('skimage', 'data/rocket.jpg'),
    cameraman=('skimage', 'data/camera.png'),
)

# Tiles of each photograph: side as a fraction of its own, and tiles per axis.
SCALES = ((1.0, 1), (0.75, 2), (0.5, 3))


def photo_paths() -> dict[str, Path]:
    """The photographs of this installation, by name."""
    found = {}
    for name, (package, file) in PHOTOS.items():
        spec = find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            path = Path(spec.submodule_search_locations[0]) / file
            if path.is_file():
                found[name] = path
    return found


def tile_boxes(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Half-open boxes x1, y1, x2, y2 of :data:`SCALES`, evenly spread and overlapping."""
    for share, count in SCALES:
        w, h = round(width * share), round(height * share)
        for row in range(count):
            for col in range(count):
                x = round((width - w) * col / max(1, count - 1))
                y = round((height - h) * row / max(1, count - 1))
                yield x, y, x + w, y + h


def write_demo_photos(folder: str, side: int = 320) -> list[Path]:
    """Cut the photographs into overlapping tiles and write them as JPEG.

    Fourteen tiles per photograph: the whole of it, four of 3/4 and nine of 1/2 of its sides.
    Existing tiles are kept.

    Args:
        folder (str): Output folder; created if missing.
        side (int): Longer side of a tile, in pixels.

    Returns:
        list[Path]: ``<name>_<tile>.jpg``, sorted; tile 00 is the whole photograph.

    Raises:
        ValueError: This installation holds none of the photographs.
    """
    photos = photo_paths()
    if not photos:
        raise ValueError(
            'scikit-image and scikit-learn of this installation hold no '
            'photographs; give a folder of images instead (data_root)'
        )
    out = []
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, path in sorted(photos.items()):
        with Image.open(path) as file:
            photo = file.convert('RGB')
        for i, box in enumerate(tile_boxes(*photo.size)):
            target = Path(folder) / f'{name}_{i:02d}.jpg'
            if not target.is_file():
                tile = photo.crop(box)
                tile.thumbnail((side, side), Image.Resampling.LANCZOS)
                data = BytesIO()
                tile.save(data, format='JPEG', quality=92)
                write_atomic(target, data.getvalue())
            out.append(target)
    return out


@DATASETS.register_module()
class DemoPhotos(ImageList):
    """A folder of images, or by default tiles of the photographs in scikit-image and scikit-learn.

    Args:
        data_root (str): A folder of images. If empty or equal to ``tiles``: that folder, which
            is then written by :func:`write_demo_photos`.
        tiles (str): Folder for the tiles.
        kwargs: As in :class:`ImageList`.

    Raises:
        ValueError: See :func:`write_demo_photos` and :class:`ImageList`.
    """

    def __init__(self, data_root: str = '', tiles: str = 'work_dirs/demo/photos', **kwargs) -> None:
        if data_root in ('', tiles):
            if is_main_process():
                write_demo_photos(tiles)
            barrier()
            data_root = tiles
        super().__init__(data_root=data_root, **kwargs)
