import copy
import hashlib
import logging

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.logging import print_log

from orl_mm.io.image import UnreadableImageError, decode_image
from orl_mm.registry import TRANSFORMS

SLOTS = 64  # one per worker, so that no two processes write the same number
_REMEMBERED = 256  # bad files a worker remembers where the others see it
_GRACE = 1000  # loads before which max_bad counts as max_bad * _GRACE files


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Load an image file as 8-bit BGR, or return None where it is not whole.

    mmengine's data sets draw another sample for None. Each unreadable file is
    logged once with its path and the reason, in whichever worker meets it;
    :attr:`num_bad` counts them over all workers. What is decoded, and how, is
    said at :func:`orl_mm.io.image.decode_image`.

    Required Keys:

    - img_path

    Added Keys:

    - img (np.ndarray): (H, W, 3) uint8, BGR.
    - img_shape, ori_shape (tuple): (H, W).

    Args:
        background (int, optional): Grey level under transparent pixels;
            None drops the alpha channel. Defaults to 255, white.
        apply_exif (bool): Turn images as their EXIF orientation says.
            Defaults to False, as is ImageNet practice.
        max_bad (float): The share of loads that may fail. More is an error:
            then the data set is at fault, not a file. Up to
            1000 * max_bad failures are always forgiven. Defaults to 0.01.
        backend_args (dict, optional): mmengine's file backend, for paths
            that are not local files.

    Raises:
        ValueError: More than ``max_bad`` of the loads failed.
    """

    def __init__(
        self,
        background: int | None = 255,
        apply_exif: bool = False,
        max_bad: float = 0.01,
        backend_args: dict | None = None,
    ) -> None:
        if background is not None and not 0 <= background <= 255:
            raise ValueError(
                f'background={background} must be a grey level '
                '0..255, or None to drop the alpha channel'
            )
        if not 0 <= max_bad <= 1:
            raise ValueError(f'max_bad={max_bad} must be a share in [0, 1]')
        self.background = background
        self.apply_exif = apply_exif
        self.max_bad = max_bad
        self.backend_args = backend_args
        self._reset()

    @property
    def num_bad(self) -> int:
        """How many different unreadable files all workers have met."""
        return int((self._bad != 0).sum())

    @property
    def num_loads(self) -> int:
        """How many loads all workers have tried."""
        return int(self._loads[:, 0].sum())

    def read(self, path: str) -> bytes:
        """The bytes of a file, through mmengine's file backends where needed."""
        if self.backend_args is None and '://' not in path:
            with open(path, 'rb') as file:
                return file.read()
        return fileio.get(path, backend_args=self.backend_args)

    def decode(self, data: bytes, path: str) -> np.ndarray:
        """The bytes of the file at ``path`` as (H, W, 3) uint8, BGR."""
        return decode_image(data, self.background, self.apply_exif)

    def transform(self, results: dict) -> dict | None:
        path = results['img_path']
        slot = worker_slot()
        self._loads.numpy()[slot, 0] += 1  # 10 us less than a tensor's
        try:
            img = self.decode(self.read(path), path)
        except (UnreadableImageError, OSError) as error:
            self._note(path, slot, error)
            # The data set draws another index from numpy, which SeedSample
            # seeded by this one: without a difference from try to try, two
            # bad files could name each other forever.
            np.random.rand(self._failures_in_a_row)
            self._failures_in_a_row += 1
            return None
        self._failures_in_a_row = 0
        results['img'] = img
        results['img_shape'] = img.shape[:2]
        results['ori_shape'] = img.shape[:2]
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
                level=logging.ERROR,
            )  # the least that every rank shows
        loads, bad = self._loads.sum(dim=0).tolist()
        if bad > self.max_bad * max(loads, _GRACE):
            raise ValueError(
                f'{bad} of {loads} image loads failed, more than '
                f'max_bad={self.max_bad} allows; the last: {path} ({error}). '
                'Mend or remove these files (the log names each), or raise '
                'LoadImage(max_bad=...)'
            )

    def _reset(self) -> None:
        self._failures_in_a_row = 0
        self._loads = torch.zeros(SLOTS, 2, dtype=torch.int64).share_memory_()
        self._bad = torch.zeros(SLOTS, _REMEMBERED, dtype=torch.int64).share_memory_()

    def __deepcopy__(self, memo):
        # A copied tensor would leave shared memory: count anew instead.
        clone = copy.copy(self)
        clone._reset()
        return clone

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(background={self.background}, '
            f'apply_exif={self.apply_exif}, max_bad={self.max_bad})'
        )


def _key(path: str) -> int:
    """A non-zero 64-bit number of the path, the same in every process."""
    digest = hashlib.blake2b(path.encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'big', signed=True) or 1


def worker_slot() -> int:
    """This process's row of a shared counter of :data:`SLOTS` rows."""
    info = torch.utils.data.get_worker_info()
    return 0 if info is None else 1 + info.id % (SLOTS - 1)
