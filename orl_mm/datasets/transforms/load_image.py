import copy
import hashlib
import logging

import numpy as np
import torch
from mmengine.logging import print_log

from orl_mm.errors import UserError
from orl_mm.io.files import check_backend, read_file
from orl_mm.io.image import MAX_PIXELS, UnreadableImageError, decode_image
from orl_mm.io.image_list import GRACE
from orl_mm.registry import TRANSFORMS

from .transform import Transform

SLOTS = 64  # rows of shared counters, one per worker, so that no two processes write to one
_REMEMBERED = 256  # bad files per worker in shared memory


@TRANSFORMS.register_module()
class LoadImage(Transform):
    """Load an image file as 8-bit BGR, or return None if it is damaged.

    For None, mmengine's data sets draw another sample. Each unreadable file is logged once with
    its path and the reason; :attr:`num_bad` counts them over all workers. See
    :func:`orl_mm.io.image.decode_image` for the formats.

    Required Keys:

    - img_path

    Added Keys:

    - img (np.ndarray): (H, W, 3) uint8, BGR.
    - img_shape, ori_shape (tuple): (H, W).
    - img_bytes (int): Size of the file.
    - exif_applied (bool): Whether ``img`` is in the frame that EXIF's orientation displays.

    Args:
        background (int, optional): Grey level under transparent pixels;
            None drops the alpha channel. Defaults to 255, white.
        apply_exif (bool): Rotate images by their EXIF orientation. Defaults to False, as is
            usual for ImageNet.
        max_bad (float): The fraction of loads that may fail; more is an error. Up to
            1000 * max_bad failures are always accepted. Defaults to 0.01.
        max_pixels (int): Larger images count as damaged; they are not decoded. Defaults to
            Pillow's limit, 179 million.
        backend_args (dict, optional): mmengine's file back end, for paths that are not local
            files; a data set with ``backend_args`` passes its own.

    Raises:
        UserError: More than ``max_bad`` of the loads failed.
    """

    _failures_in_a_row: int
    _loads: torch.Tensor
    _bad: torch.Tensor

    def __init__(
        self,
        background: int | None = 255,
        apply_exif: bool = False,
        max_bad: float = 0.01,
        max_pixels: int = MAX_PIXELS,
        backend_args: dict | None = None,
    ) -> None:
        if background is not None and not 0 <= background <= 255:
            raise ValueError(
                f'background={background} must be a grey level '
                '0..255, or None to drop the alpha channel'
            )
        if not 0 <= max_bad <= 1:
            raise ValueError(f'max_bad={max_bad} must be a share in [0, 1]')
        check_backend(backend_args)
        self.background = background
        self.apply_exif = apply_exif
        if max_pixels < 1:
            raise ValueError(f'max_pixels={max_pixels} must be at least 1')
        self.max_bad = max_bad
        self.max_pixels = max_pixels
        self.backend_args = backend_args
        self._reset()

    @property
    def num_bad(self) -> int:
        """Number of different unreadable files, over all workers."""
        return int((self._bad != 0).sum())

    @property
    def num_loads(self) -> int:
        """Number of attempted loads, over all workers."""
        return int(self._loads[:, 0].sum())

    def decode(self, data: bytes, path: str) -> np.ndarray:
        """The bytes of the file at ``path`` as (H, W, 3) uint8, BGR."""
        return decode_image(
            data, self.background, self.apply_exif, max_pixels=self.max_pixels, path=path
        )

    def transform(self, results: dict) -> dict | None:
        path = results['img_path']
        slot = worker_slot()
        self._loads.numpy()[slot, 0] += 1  # 10 us faster than on a tensor
        try:
            data = read_file(path, results.get('backend_args', self.backend_args))
            img = self.decode(data, path)
        except (UnreadableImageError, OSError) as error:
            self._note(path, slot, error)
            # The data set draws another index from numpy, which SeedSample seeded by this
            # index: if every attempt drew alike, two bad files could lead to each other forever.
            np.random.rand(self._failures_in_a_row)
            self._failures_in_a_row += 1
            return None
        self._failures_in_a_row = 0
        results['img'] = img
        results['img_bytes'] = len(data)
        results['img_shape'] = img.shape[:2]
        results['ori_shape'] = img.shape[:2]
        results['exif_applied'] = self.apply_exif
        return results

    def _note(self, path: str, slot: int, error: Exception) -> None:
        self._loads[slot, 1] += 1
        key = _key(path)
        if not (self._bad == key).any():
            used = int((self._bad[slot] != 0).sum())
            self._bad[slot, used % _REMEMBERED] = key
            print_log(
                f'unreadable image, another is drawn: {path} ({error})',
                logger='current',
                level=logging.ERROR,  # the lowest level that every rank logs
            )
        loads, bad = self._loads.sum(dim=0).tolist()
        if bad > self.max_bad * max(loads, GRACE):
            raise UserError(
                f'{bad} of {loads} image loads failed, more than '
                f'max_bad={self.max_bad} allows; the last: {path} ({error}). '
                'Repair or remove these files, which the log names, or raise '
                'LoadImage(max_bad=...)'
            )

    def _reset(self) -> None:
        self._failures_in_a_row = 0
        self._loads = torch.zeros(SLOTS, 2, dtype=torch.int64).share_memory_()
        self._bad = torch.zeros(SLOTS, _REMEMBERED, dtype=torch.int64).share_memory_()

    def __deepcopy__(self, memo):
        # A copied tensor would not be in shared memory, so counting starts again.
        clone = copy.copy(self)
        clone._reset()
        return clone


def _key(path: str) -> int:
    """A non-zero 64-bit hash of the path, the same in every process."""
    digest = hashlib.blake2b(path.encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'big', signed=True) or 1


def worker_slot() -> int:
    """This process's row of a shared counter of :data:`SLOTS` rows."""
    info = torch.utils.data.get_worker_info()
    return 0 if info is None else 1 + info.id % (SLOTS - 1)
