"""X-ray downloads to a folder of small 8-bit images, their masks and their csv files."""

import csv
import io
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

import cv2
import numpy as np

from orl_mm.datasets import label_table
from orl_mm.datasets.chest_xray_parts import ChestXRayParts
from orl_mm.datasets.chexpert import CheXpert
from orl_mm.datasets.image_list import ImageList
from orl_mm.datasets.transforms.load_parts import LoadParts
from orl_mm.io.image import UnreadableImageError
from orl_mm.io.part_layouts import LAYOUTS, encode_mask
from orl_mm.io.xray import Window, check_options, decode_xray, looks_inverted
from orl_mm.map_cache.build import BuildJob
from orl_mm.map_cache.spec import Made, MapSpec

INVERTED = 'inverted.txt'
# How a download is laid out; 'parts' is what this module writes, 'folder' anything else.
KINDS = ('chexpert', 'jsrt', 'montgomery', 'parts', 'folder')
_LAYOUTS = dict(jsrt='jsrt', montgomery='montgomery', parts='folders')
# What the names of these sets say: JPCLN* has a nodule, JPCNN* none; MCUCXR_*_1 tuberculosis.
_FINDINGS = dict(
    jsrt=('nodule', lambda stem: int(stem[:5] == 'JPCLN')),
    montgomery=('tb', lambda stem: int(stem[-2:] == '_1')),
)


@dataclass(frozen=True)
class Item:
    """One image to convert: its file, where it goes, and the mask files of its parts."""

    source: str
    target: str
    part_paths: dict[str, list[str]] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        return os.path.splitext(os.path.basename(self.target))[0]


def find_kind(root: str) -> str:
    """What a folder is, by what lies in it: one of :data:`KINDS`.

    Raises:
        ValueError: No folder.
    """
    if not os.path.isdir(root):
        raise ValueError(f'{root} is no folder')
    for kind, layout in _LAYOUTS.items():
        if LAYOUTS[layout].fits(root):
            return kind
    return 'chexpert' if _path_tables(root) else 'folder'


def find_items(root: str, kind: str, suffix: str, every_file: bool = False) -> list[Item]:
    """All images of a download.

    CheXpert's frontal ones keep their folders; a folder's go below ``images/``, in
    their sub-folders.

    Args:
        suffix (str): Of the images to be written, with its dot.
        every_file (bool): In a folder every file counts, as in exports without suffixes.

    Raises:
        ValueError: Nothing there, or two images of one target.
    """
    if kind == 'folder':
        found = ImageList(root, extensions=('',) if every_file else 'xrays')
        items = [
            Item(path, _renamed(_below_images(os.path.relpath(path, root)), suffix))
            for path in _column(found, 'img_path')
        ]
    elif kind == 'chexpert':
        paths = [
            path
            for name in _path_tables(root)
            for path in _column(CheXpert(name, root, classes=[], missing='skip'), 'img_path')
        ]
        items = [Item(path, _renamed(os.path.relpath(path, root), suffix)) for path in paths]
    else:
        found = ChestXRayParts(root, _LAYOUTS[kind], missing='keep')
        items = [
            Item(path, f'images/{stem}{suffix}', masks)
            for path, stem, masks in zip(
                *(_column(found, key) for key in ('img_path', 'id', 'part_paths')), strict=False
            )
        ]
    sources: dict[str, str] = {}
    for item in items:
        if sources.setdefault(item.target, item.source) != item.source:
            raise ValueError(
                f'{sources[item.target]} and {item.source} would both become {item.target}'
            )
    return items


@dataclass(frozen=True)
class ConvertSpec(MapSpec):
    """An X-ray as a small 8-bit image, in which dense tissue is bright.

    Args:
        kind (str): One of :data:`KINDS`.
        size (int): Length of the shorter side in pixels; nothing is enlarged.
        square (bool): Squash to ``size`` x ``size`` instead.
        format (str): ``'jpg'`` or ``'png'``.
        quality (int): Of JPEG files, 1 to 100.
        polarity (str): ``'as_stored'``, ``'check'`` (list images that look inverted) or
            ``'mend'`` (invert them too).
        window: See :func:`orl_mm.io.xray.to_8bit`.

    Raises:
        ValueError: An argument out of range.
    """

    name, what, tool = 'converted', 'converted X-ray', 'convert_cxr'
    out_is_positional = True
    lists = {'inverted': INVERTED}

    kind: str
    size: int = 512
    square: bool = False
    format: str = 'jpg'
    quality: int = 95
    polarity: str = 'as_stored'
    window: Window = 'bits'

    def __post_init__(self) -> None:
        check_options(self.polarity, self.window)
        if self.size < 1 or not 1 <= self.quality <= 100:
            raise ValueError(
                f'size={self.size} must be at least 1, quality={self.quality} must be 1..100'
            )

    def to_dict(self) -> dict:
        return json.loads(json.dumps(asdict(self)))

    def source(self, item: Item) -> str:
        return item.source

    def target(self, item: Item) -> str:
        return item.target

    @property
    def options(self) -> Sequence[int]:
        return [] if self.format == 'png' else [cv2.IMWRITE_JPEG_QUALITY, self.quality]

    def decode(self, data: bytes, path: str) -> np.ndarray:
        """Grey levels (H, W) uint8."""
        return decode_xray(data, path, self.window)

    def make(self, item: Item, pixels: np.ndarray) -> Made:
        inverted = self.polarity != 'as_stored' and looks_inverted(pixels)
        if inverted and self.polarity == 'mend':
            pixels = 255 - pixels
        sample = dict(img_path=item.source, ori_shape=pixels.shape, part_paths=item.part_paths)
        try:
            found = LoadParts().transform(sample)
        except ValueError as error:  # the masks cannot be read, or do not fit the image
            raise UnreadableImageError(str(error)) from error
        shape = small_shape(pixels.shape, self.size, self.square)
        # Half a pixel is outside, so that parts that exclude each other still do.
        files = {
            f'masks/{part}/{item.stem}.png': encode_mask(
                resize(mask.numpy() * np.float32(1), shape) > 0.5
            )
            for part, mask in zip(found['parts'], found['part_masks'], strict=True)
        }
        return Made(resize(pixels, shape), 'inverted' if inverted else '', files)


def small_shape(shape: tuple[int, int], size: int, square: bool) -> tuple[int, int]:
    """Height and width with a shorter side of ``size``, never enlarged; or ``size`` squared."""
    if square:
        return size, size
    factor = min(1.0, size / min(shape))
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def resize(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) to a shape: the mean of an area where it shrinks, else linear."""
    shrinks = shape[0] <= array.shape[0] and shape[1] <= array.shape[1]
    return cv2.resize(
        array, shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )


def write_tables(job: BuildJob, kind: str, items: list[Item]) -> list[str]:
    """Write the csv files that belong to the images, and return their names.

    In CheXpert's ``Path``, and in every cell of other csv files that names an image, the name
    becomes the new one. JSRT and Montgomery get a ``labels.csv`` of what their names say.
    """
    root, suffix = job.root, os.path.splitext(items[0].target)[1]
    if kind in _FINDINGS:
        name, finding = _FINDINGS[kind]
        job.write_lines(
            'labels.csv',
            [f'image,{name}'] + [f'{item.stem}{suffix},{finding(item.stem)}' for item in items],
        )
        return ['labels.csv']
    written = []
    known = {os.path.relpath(item.source, root) for item in items}
    known |= {os.path.basename(path) for path in known}
    for name in _path_tables(root) if kind == 'chexpert' else _csv_files(root):
        table = label_table.read_table(os.path.join(root, name))
        if kind == 'chexpert':
            paths = CheXpert(name, root, classes=[], lazy_init=True).paths(table['Path'])
            table['Path'] = [_renamed(os.path.relpath(path, root), suffix) for path in paths]
        else:
            table = {
                column: [_renamed(cell, suffix) if cell in known else cell for cell in cells]
                for column, cells in table.items()
            }
        text = io.StringIO()
        csv.writer(text, lineterminator='\n').writerows(
            [table, *zip(*table.values(), strict=False)]
        )
        job.write(name, text.getvalue().encode())
        written.append(name)
    return written


def _path_tables(root: str) -> list[str]:
    """Csv files right in a folder that have CheXpert's column of paths."""
    tables = []
    for name in _csv_files(root):
        with suppress(ValueError):  # another table, which write_tables names if it cannot be read
            if next(iter(label_table.read_table(os.path.join(root, name)))) == 'Path':
                tables.append(name)
    return tables


def _csv_files(root: str) -> list[str]:
    return sorted(name for name in os.listdir(root) if name.lower().endswith('.csv'))


def _column(dataset, key: str) -> list:
    return [dataset.get_data_info(i)[key] for i in range(len(dataset))]


def _below_images(relative: str) -> str:
    return relative if relative.split(os.sep)[0] == 'images' else os.path.join('images', relative)


def _renamed(path: str, suffix: str) -> str:
    """A path with another suffix; a number after a dot, as in UIDs, is none."""
    stem, old = os.path.splitext(path)
    return (path if old[1:].isdigit() else stem) + suffix
