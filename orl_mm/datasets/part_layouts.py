"""Where the X-ray sets with organ masks keep their files.

Each layout is a function of the root that lists its images: a list of
:class:`PartSample`, in the order of the ids. Sides are the patient's in what comes out.
"""

import os
from dataclasses import dataclass
from typing import Callable, Dict, List, Tuple

from orl_mm.datasets.xray_io import XRAY_EXTENSIONS

MASK_EXTENSIONS = ('.png', '.gif', '.bmp', '.tif', '.tiff')


@dataclass
class PartSample:
    """An image and the mask files of each part, whose union is the part."""
    id: str
    img_path: str
    part_paths: Dict[str, List[str]]


@dataclass
class PartLayout:
    """How a root is recognised, and where the files of each part lie.

    Args:
        description (str): For people.
        images (tuple): Folders of images below the root; those that exist are read.
        parts (callable): The root to folders of masks: part -> list of folders below
            the root. A part may be spread over several folders, by image.
    """
    description: str
    images: Tuple[str, ...]
    parts: Callable[[str], Dict[str, List[str]]]

    def fits(self, root: str) -> bool:
        return bool(self._existing(root, self.images)) and bool(self.parts(root))

    @staticmethod
    def _existing(root: str, folders) -> List[str]:
        return [f for f in folders if os.path.isdir(os.path.join(root, f))]

    def samples(self, root: str) -> List[PartSample]:
        """All images with their masks; a part has no path where its file is missing."""
        images = {}
        for folder in self._existing(root, self.images):
            images.update(files_by_stem(os.path.join(root, folder), XRAY_EXTENSIONS))
        masks = {
            part: [files_by_stem(os.path.join(root, folder), MASK_EXTENSIONS)
                   for folder in folders]
            for part, folders in self.parts(root).items()
        }
        return [
            PartSample(stem, path, {
                part: [found[stem] for found in folders if stem in found]
                for part, folders in masks.items()
            }) for stem, path in sorted(images.items())
        ]


def files_by_stem(folder: str, extensions: Tuple[str, ...]) -> Dict[str, str]:
    """Files of a folder by their name without extension.

    Raises:
        ValueError: Two files of one stem.
    """
    found: Dict[str, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            if suffix.lower() not in extensions or stem.startswith('.'):
                continue
            if stem in found:
                raise ValueError(f'{found[stem]} and {entry.path} have one name; keep one of them')
            found[stem] = entry.path
    return found


def _folders_parts(root: str) -> Dict[str, List[str]]:
    base = os.path.join(root, 'masks')
    if not os.path.isdir(base):
        return {}
    return {name: [os.path.join('masks', name)] for name in sorted(os.listdir(base))
            if os.path.isdir(os.path.join(base, name)) and not name.startswith('.')}


def _montgomery_parts(root: str) -> Dict[str, List[str]]:
    pairs = dict(left_lung='ManualMask/leftMask', right_lung='ManualMask/rightMask')
    return {part: [folder] for part, folder in pairs.items()
            if os.path.isdir(os.path.join(root, folder))}


def _jsrt_parts(root: str) -> Dict[str, List[str]]:
    parts: Dict[str, List[str]] = {}
    for base in ('scratch/fold1/masks', 'scratch/fold2/masks', 'fold1/masks', 'fold2/masks'):
        path = os.path.join(root, base)
        if os.path.isdir(path):
            for name in sorted(os.listdir(path)):
                parts.setdefault(name.replace(' ', '_'), []).append(os.path.join(base, name))
    return parts


LAYOUTS = dict(
    folders=PartLayout('images/ and masks/<part>/ with the same names', ('images', ),
                       _folders_parts),
    jsrt=PartLayout('All247images/*.IMG and scratch/fold{1,2}/masks/<part>/*.gif',
                    ('All247images', ), _jsrt_parts),
    montgomery=PartLayout('CXR_png/ and ManualMask/{leftMask,rightMask}/', ('CXR_png', ),
                          _montgomery_parts))
