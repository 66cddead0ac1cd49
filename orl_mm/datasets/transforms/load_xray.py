import logging

import cv2
import numpy as np
import torch
from mmengine.logging import print_log

from orl_mm.io.image import MAX_PIXELS
from orl_mm.io.xray import Window, check_options, decode_xray, looks_inverted
from orl_mm.registry import TRANSFORMS

from .load_image import SLOTS, LoadImage, worker_slot


@TRANSFORMS.register_module()
class LoadXray(LoadImage):
    """Load an X-ray (JPEG, PNG, DICOM, JSRT's ``.IMG``) as 8-bit grey in three equal channels.

    As in :class:`LoadImage`, an unreadable file is logged, counted and replaced by another; see
    :func:`orl_mm.io.xray.read_xray` for the formats.

    Required Keys:

    - img_path

    Added Keys:

    - img (np.ndarray): (H, W, 3) uint8, grey; dense tissue is bright.
    - img_shape, ori_shape (tuple): (H, W).

    Args:
        polarity (str): ``'as_stored'``; ``'check'`` logs and counts images that look
            inverted; ``'mend'`` inverts them too.
        window: ``'bits'``, ``'range'`` or (black, white), for files of more than 8 bits;
            see :func:`orl_mm.io.xray.to_8bit`.
        max_bad, max_pixels, backend_args: As in :class:`LoadImage`.

    Raises:
        ValueError: An unknown option, or more than ``max_bad`` of the loads failed.
    """

    def __init__(
        self,
        polarity: str = 'as_stored',
        window: Window = 'bits',
        max_bad: float = 0.01,
        max_pixels: int = MAX_PIXELS,
        backend_args: dict | None = None,
    ) -> None:
        check_options(polarity, window)
        self.polarity = polarity
        self.window = window
        super().__init__(max_bad=max_bad, max_pixels=max_pixels, backend_args=backend_args)

    @property
    def num_inverted(self) -> int:
        """Number of loads, over all workers, that looked inverted (unless ``'as_stored'``)."""
        return int(self._inverted.sum())

    def decode(self, data: bytes, path: str) -> np.ndarray:
        """The bytes of the file at ``path`` as (H, W, 3) uint8, grey."""
        grey = decode_xray(data, path, self.window, self.max_pixels)
        if self.polarity != 'as_stored' and looks_inverted(grey):
            slot = worker_slot()
            self._inverted[slot] += 1
            if self._inverted[slot] <= 20:  # keep the log readable
                print_log(
                    f'X-ray looks inverted, {self.polarity}: {path}',
                    logger='current',
                    level=logging.ERROR,  # the lowest level that every rank logs
                )
            if self.polarity == 'mend':
                grey = 255 - grey
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)

    def _reset(self) -> None:
        super()._reset()
        self._inverted = torch.zeros(SLOTS, dtype=torch.int64).share_memory_()
