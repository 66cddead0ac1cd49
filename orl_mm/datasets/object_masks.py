"""Ground-truth objects of images, to evaluate regions that were found without labels."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from skimage.measure import label

from orl_mm.io.image import read_stored
from orl_mm.io.image_list import read_text, report_bad
from orl_mm.structures.view_geometry import ViewGeometry

VOC_IGNORE = 255
SPECK = 1e-3  # fraction of the image


class ObjectMasks(NamedTuple):
    """One image with its objects, squashed to a square.

    Attributes:
        path (Path): The image's file.
        objects (np.ndarray): (N, size, size) bool.
        ignore (np.ndarray): (size, size) bool: unlabeled pixels.
    """

    path: Path
    objects: np.ndarray
    ignore: np.ndarray


def voc_objects(root: str | Path, split: str = 'val', size: int = 224) -> list[ObjectMasks]:
    """PASCAL VOC's segmented images.

    Objects are those of ``SegmentationObject`` if it exists; otherwise the 8-connected
    components of each class, so that two touching horses are one object and a horse behind a
    fence is several. Components below a thousandth of the image are ignored pixels.

    Args:
        root (str or Path): ``VOC2012``, with ``JPEGImages``, ``SegmentationClass`` and
            ``ImageSets/Segmentation``.
        split (str): A list there.
        size (int): Side of the masks; nearest neighbor.

    Raises:
        ValueError: A missing folder, list, or mask, or an empty list.
    """
    root = Path(root)
    listed = root / 'ImageSets' / 'Segmentation' / f'{split}.txt'
    if not listed.is_file():
        raise ValueError(f'there is no {listed}: give the folder VOC2012, and a split of it')
    names = listed.read_text().split()
    if not names:
        raise ValueError(f'{listed} is empty')
    instances = (root / 'SegmentationObject').is_dir()
    found = []
    for name in names:
        path = root / ('SegmentationObject' if instances else 'SegmentationClass') / f'{name}.png'
        if not path.is_file():
            raise ValueError(f'{listed} names {name}, and there is no {path}')
        ids = _squash(read_stored(str(path)), size)
        ignore = ids == VOC_IGNORE
        ids = np.where(ignore, 0, ids)
        if not instances:
            ids = label(ids, background=0, connectivity=2)
        masks = [ids == i for i in np.unique(ids) if i]
        if not instances:
            specks = [m for m in masks if m.mean() < SPECK]
            ignore = np.logical_or.reduce([ignore, *specks])
            masks = [m for m in masks if m.mean() >= SPECK]
        found.append(ObjectMasks(root / 'JPEGImages' / f'{name}.jpg', _stack(masks, size), ignore))
    return found


def coco_objects(
    annotations: str | Path, folder: str | Path, size: int = 224, max_bad: float = 0.01
) -> list[ObjectMasks]:
    """Images of COCO that have objects; crowds are ignored pixels.

    Masks are polygons or runs, compressed or not, as pycocotools' ``annToRLE`` takes them; what
    cannot be read is counted, and the first is named by its id.

    Args:
        annotations (str or Path): ``instances_*.json``.
        folder (str or Path): The images.
        size (int): Side of the masks; nearest neighbor.
        max_bad (float): The fraction of annotations, of at least 1000, that may be unreadable.

    Raises:
        ValueError: A missing file, another form of json, no image with objects, too many
            unreadable annotations, or no pycocotools.
    """
    try:
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise ValueError(
            "COCO's masks are read by pycocotools, which comes with "
            'onedl-mmdetection: pip install pycocotools'
        ) from error
    annotations, folder = Path(annotations), Path(folder)
    if not annotations.is_file():
        raise ValueError(f'there is no {annotations}')
    of_image: dict[int, list[dict]] = {}
    try:
        content = json.loads(read_text(str(annotations)))
        for item in content['annotations']:
            of_image.setdefault(item['image_id'], []).append(item)
        images = [(i['id'], i['file_name'], (i['height'], i['width'])) for i in content['images']]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{annotations} is no json of COCO's form: {error!r}") from error
    found = []
    bad: list[tuple[str, str]] = []
    for number, name, shape in images:
        items = of_image.get(number, [])
        if not any(not item.get('iscrowd') for item in items):
            continue
        path = folder / name
        if not path.is_file():
            raise ValueError(f'{annotations} names {name}, and there is no {path}')
        ignore = np.zeros((size, size), bool)
        masks = []
        for item in items:
            try:
                runs = item['segmentation']
                if not (isinstance(runs, dict) and isinstance(runs['counts'], (str, bytes))):
                    # Polygons, which come as one run a part, or runs that are not compressed.
                    runs = coco_mask.frPyObjects(runs, *shape)
                    runs = coco_mask.merge(runs) if isinstance(runs, list) else runs
                if tuple(runs['size']) != shape:
                    raise ValueError(f'a mask of {runs["size"]} in an image of {shape}')
                mask = _squash(coco_mask.decode(runs).astype(bool), size)
            except Exception as error:  # pycocotools raises what it pleases
                bad.append((f'{annotations}, annotation {item.get("id")}', str(error)))
                continue
            if item.get('iscrowd'):
                ignore |= mask
            else:
                masks.append(mask)
        found.append(ObjectMasks(path, _stack([m for m in masks if m.any()], size), ignore))
    report_bad(bad, sum(map(len, of_image.values())) - len(bad), max_bad, str(annotations))
    if not found:
        raise ValueError(f'{annotations} has no image with objects')
    return found


def _squash(ids: np.ndarray, size: int) -> np.ndarray:
    return ViewGeometry.whole(*ids.shape).apply_labels(ids, size)


def _stack(masks: list[np.ndarray], size: int) -> np.ndarray:
    return np.stack(masks) if masks else np.zeros((0, size, size), bool)


def batches(images: list[ObjectMasks], size: int, seed: int = 0) -> Iterator[list[int]]:
    """Indices of mini-batches in random order; the last one is filled up from the first.

    K-means shares its clusters among the images of a batch, so all batches have one size.
    """
    order = np.random.default_rng(seed).permutation(len(images)).tolist()
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        while len(batch) < size:
            batch += order[: size - len(batch)]
        yield batch
