"""The exemplar: one image and the masks of its parts."""

import difflib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from orl_mm.datasets.chest_xray_parts import ChestXRayParts
from orl_mm.io.part_layouts import read_part
from orl_mm.io.xray import read_xray
from orl_mm.registration.contrast import to_grey

MAX_PARTS = 16  # bits of a cache's pixel
ASPECT_TOLERANCE = 0.02


@dataclass(frozen=True)
class Exemplar:
    """The segmented image that is registered to all others.

    Args:
        grey (np.ndarray): (H, W) uint8.
        masks (dict): Part -> (h, w) bool, covering the whole image; of its size, or another
            with the same aspect ratio. Parts may overlap.

    Raises:
        ValueError: No masks, too many, an empty one, or one of another shape.
    """

    grey: np.ndarray
    masks: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        if not 1 <= len(self.masks) <= MAX_PARTS:
            raise ValueError(
                f'an exemplar needs the masks of 1 to {MAX_PARTS} parts, got {len(self.masks)}'
            )
        height, width = self.grey.shape
        for part, mask in self.masks.items():
            if (
                mask.ndim != 2
                or abs(mask.shape[1] * height / (mask.shape[0] * width) - 1) > ASPECT_TOLERANCE
            ):
                raise ValueError(
                    f'the mask of {part} is {mask.shape}, which does not cover the '
                    f'image of {height} x {width} (height x width)'
                )
            if not mask.any():
                raise ValueError(f'the mask of {part} is empty: leave the part out, or mend it')

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.masks)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of the image, the masks and their names."""
        state = hashlib.blake2b(digest_size=8)
        for name, array in (('', self.grey), *self.masks.items()):
            state.update(f'{name}\0{array.shape}\0'.encode())
            state.update(np.ascontiguousarray(array, np.uint8))
        return state.hexdigest()

    def squashed_masks(self, size: int) -> np.ndarray:
        """(R, size, size) uint8, 1 where a part covers half of a pixel or more."""
        out = [
            cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
            for mask in self.masks.values()
        ]
        return (np.stack(out) >= 0.5).astype(np.uint8)


def read_exemplar(image: str, masks: dict[str, Sequence[str]]) -> Exemplar:
    """An exemplar from files.

    Args:
        image (str): Image file of any kind that :func:`read_xray` takes.
        masks (dict): Part -> mask files, whose union is the part.

    Raises:
        ValueError: See :class:`Exemplar`; or a file that cannot be read.
    """
    for part, paths in masks.items():
        missing = [path for path in paths if not os.path.isfile(path)]
        if missing or not paths:
            raise ValueError(f'{part} has no mask: {" ".join(missing) or "no file"} is not there')
    if not os.path.isfile(image):
        raise ValueError(f'there is no exemplar {image}')
    return Exemplar(
        to_grey(read_xray(image)), {part: read_part(list(paths)) for part, paths in masks.items()}
    )


def find_exemplar(
    root: str, exemplar_id: str, layout: str = 'auto', parts: Sequence[str] | None = None
) -> Exemplar:
    """An image of a parts data set, by its id.

    Args:
        root, layout, parts: As in :class:`~orl_mm.datasets.ChestXRayParts`.
        exemplar_id (str): The stem of its file.

    Raises:
        ValueError: See :func:`read_exemplar`; or no such image.
    """
    dataset = ChestXRayParts(root, layout, parts, missing='keep', pipeline=[])
    samples = [dataset.get_data_info(i) for i in range(len(dataset))]
    for sample in samples:
        if sample['id'] == exemplar_id:
            paths = sample['part_paths']
            names = parts or dataset.metainfo['parts']
            return read_exemplar(sample['img_path'], {p: paths.get(p, []) for p in names})
    near = difflib.get_close_matches(exemplar_id, [s['id'] for s in samples], 1)
    raise ValueError(
        f'{root} has no image {exemplar_id!r}' + (f'; did you mean {near[0]!r}?' if near else '')
    )
