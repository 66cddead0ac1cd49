"""Find the images and masks of data sets with masks of parts: JSRT, Montgomery and folders."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from mmengine.logging import print_log

from orl_mm.errors import UserError
from orl_mm.io.image import read_stored
from orl_mm.io.image_list import XRAY_EXTENSIONS, find_images

USUAL_PARTS = ('left_lung', 'right_lung', 'heart')
MASK_EXTENSIONS = ('.png', '.gif', '.bmp', '.tif', '.tiff')


@dataclass
class PartSample:
    """An image and the mask files of each part, whose union is the part."""

    id: str
    img_path: str
    part_paths: dict[str, list[str]]


@dataclass
class PartLayout:
    """Folders of images and of masks, with files of one stem.

    Args:
        description (str): For people.
        images (tuple): Folders of images below the root.
        masks (tuple): Folders below the root that hold a folder a part. An image's mask
            may lie in any of them.
        names (dict, optional): Folder of a part -> its name, and only these parts.
            Default: every folder, its spaces as underscores.
    """

    description: str
    images: tuple[str, ...]
    masks: tuple[str, ...]
    names: dict[str, str] | None = None

    def fits(self, root: str) -> bool:
        """Whether the root has folders of images and of masks."""
        return bool(_folders(root, self.images)) and bool(self.part_folders(root))

    def part_folders(self, root: str) -> dict[str, list[str]]:
        """Part -> its folders of masks."""
        parts: dict[str, list[str]] = {}
        for base in _folders(root, self.masks):
            for name in sorted(os.listdir(base)):
                folder = os.path.join(base, name)
                if name.startswith('.') or not os.path.isdir(folder):
                    continue
                if self.names is None:
                    parts.setdefault(name.replace(' ', '_'), []).append(folder)
                elif name in self.names:
                    parts.setdefault(self.names[name], []).append(folder)
        return parts

    def samples(self, root: str) -> list[PartSample]:
        """All images in the order of their ids; no path where a part's mask is missing."""
        images: dict[str, str] = {}
        for folder in _folders(root, self.images):
            images.update(_by_stem(folder, XRAY_EXTENSIONS))
        masks = {
            part: [_by_stem(folder, MASK_EXTENSIONS) for folder in folders]
            for part, folders in self.part_folders(root).items()
        }
        return [
            PartSample(
                stem,
                path,
                {
                    part: [found[stem] for found in folders if stem in found]
                    for part, folders in masks.items()
                },
            )
            for stem, path in sorted(images.items())
        ]


# The images of JSRT come in one archive or two, the masks of SCR (isi.uu.nl, "SCR database")
# in two folds, odd and even numbers. Either may have been unpacked into a folder of its name.
LAYOUTS = dict(
    folders=PartLayout('images/ and masks/<part>/', ('images',), ('masks',)),
    jsrt=PartLayout(
        'All247images/*.IMG and scratch/fold1|fold2/masks/<part>/*.gif',
        ('All247images', 'All247images/All247images', 'Nodule154images', 'NonNodule93images'),
        tuple(
            f'{base}{fold}/masks'
            for base in ('scratch/', 'scr/scratch/', 'scr/', '')
            for fold in ('fold1', 'fold2')
        ),
    ),
    montgomery=PartLayout(
        'CXR_png/ and ManualMask/leftMask|rightMask/',
        ('CXR_png', 'MontgomerySet/CXR_png'),
        ('ManualMask', 'MontgomerySet/ManualMask'),
        dict(leftMask='left_lung', rightMask='right_lung'),
    ),
)


def find_samples(root: str, layout: str = 'auto') -> list[PartSample]:
    """All images of a data set in the order of their ids.

    Args:
        root (str): The folder of the download.
        layout (str): A name of :data:`LAYOUTS`, or ``'auto'``: the first one that fits.

    Raises:
        ValueError: No such folder, or no layout fits.
    """
    if not os.path.isdir(root):
        raise ValueError(f'data_root={root!r} is not a folder')
    names = list(LAYOUTS) if layout == 'auto' else [layout]
    for name in names:
        if LAYOUTS[name].fits(root):
            return LAYOUTS[name].samples(root)
    wanted = '; '.join(f'{name}: {LAYOUTS[name].description}' for name in names)
    raise ValueError(
        f'{root} has {sorted(os.listdir(root))[:10]}, which is not the layout {wanted}'
    )


def exchange_sides(samples: list[PartSample], root: str, num: int = 3) -> None:
    """Exchange left_x and right_x, with a warning, where they are the viewer's sides.

    Sides are the patient's: a frontal X-ray is shown as if one faced the patient, whose left is
    on the viewer's right. SCR says that its names follow this; Montgomery's readme does not say.
    So the centers of the masks decide, in the first ``num`` images that have both.
    """
    for left in sorted({part for sample in samples for part in sample.part_paths}):
        right = left.replace('left', 'right')
        both = [
            s.part_paths
            for s in samples
            if left != right and s.part_paths[left] and s.part_paths.get(right)
        ][:num]
        votes = [_center(paths[left]) < _center(paths[right]) for paths in both]
        if sum(votes) * 2 <= len(votes):
            continue
        print_log(
            f"{root}: the masks of {left} lie on the viewer's left; exchanged with {right}, "
            "since sides are the patient's",
            logger='current',
            level=logging.WARNING,
        )
        for sample in samples:
            paths = sample.part_paths
            paths[left], paths[right] = paths[right], paths[left]


def choose_parts(
    samples: list[PartSample], parts: Sequence[str] | None, root: str
) -> tuple[str, ...]:
    """The wanted parts in their order; by default all, the usual ones first.

    Raises:
        ValueError: A part that the data set does not have.
    """

    def rank(part: str) -> tuple:
        return USUAL_PARTS.index(part) if part in USUAL_PARTS else len(USUAL_PARTS), part

    found = tuple(sorted(samples[0].part_paths, key=rank))
    unknown = [part for part in parts or () if part not in found]
    if unknown:
        raise ValueError(
            f'parts={list(parts or ())}: {root} has no {unknown}, it has {list(found)}'
        )
    return tuple(parts or found)


def read_mask(path: str) -> np.ndarray:
    """A mask file as (H, W) bool: above half of its largest value.

    Raises:
        UnreadableImageError: It cannot be read.
    """
    grey = read_stored(path, 'L')
    return grey > float(grey.max()) / 2


def read_part(paths: list[str]) -> np.ndarray:
    """The union of a part's mask files as (H, W) bool.

    Raises:
        ValueError: One cannot be read, or they differ in size.
    """
    masks = [read_mask(path) for path in paths]
    if len({mask.shape for mask in masks}) > 1:
        raise ValueError(
            f'the masks of one part differ in size: '
            f'{dict(zip(paths, (mask.shape for mask in masks), strict=False))}'
        )
    return np.logical_or.reduce(masks)


def encode_mask(mask: np.ndarray) -> bytes:
    """A mask (H, W) bool as a PNG file of 1 bit a pixel."""
    data = mask.astype(np.uint8) * 255
    return cv2.imencode('.png', data, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()


def _center(paths: list[str]) -> float:
    """Mean column of a part as a share of the width; nan for an empty one."""
    columns = read_part(paths).sum(axis=0)
    positions = (np.arange(len(columns)) + 0.5) / len(columns)
    return float((columns * positions).sum() / columns.sum()) if columns.any() else np.nan


def _folders(root: str, names: tuple[str, ...]) -> list[str]:
    paths = [os.path.join(root, name) for name in names]
    return [path for path in paths if os.path.isdir(path)]


def _by_stem(folder: str, extensions: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in find_images(folder, extensions, deep=False):
        stem = os.path.splitext(os.path.basename(path))[0]
        if stem in found:
            raise UserError(f'{found[stem]} and {path} have one stem; keep one of them')
        found[stem] = path
    return found
