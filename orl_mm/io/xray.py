"""X-ray files of any kind to 8-bit grey in which dense tissue is bright."""

import logging
import os
from functools import partial
from typing import Any, cast

import cv2
import numpy as np
from mmengine.logging import print_log

from orl_mm.io.dicom import decode_dicom, is_dicom
from orl_mm.io.image import MAX_PIXELS, UnreadableImageError, decode_image

POLARITIES = ('as_stored', 'check', 'mend')
Window = str | tuple[float, float]

# db.jsrt.or.jp: 2048 x 2048 samples of 12 bits in two bytes each, the high one
# first, without a header; 0 is the densest tissue.
_JSRT_SIDE = 2048
_JSRT_BYTES = 2 * _JSRT_SIDE**2
_JSRT_MAX = 4095


def read_xray(path: str, polarity: str = 'as_stored', window: Window = 'bits') -> np.ndarray:
    """Read an X-ray file: JPEG, PNG and the like, DICOM, or JSRT's raw ``.IMG``.

    Color is reduced to luminance, since some archives store grey as RGB. More
    than 8 bits a sample are brought to 8 by :func:`to_8bit`. DICOM's own tables and
    its ``MONOCHROME1``, and JSRT's known inversion, are undone in every case.

    Args:
        path (str): A local file.
        polarity (str): ``'as_stored'`` trusts the file. ``'check'`` logs a warning where
            :func:`looks_inverted`, ``'mend'`` inverts there.
        window: See :func:`to_8bit`.

    Returns:
        np.ndarray: (H, W, 3) uint8, grey in three equal channels, contiguous.

    Raises:
        UnreadableImageError: With the reason.
        ValueError: ``polarity`` or ``window``.
        ModuleNotFoundError: A DICOM file without pydicom.
    """
    check_options(polarity, window)
    with open(path, 'rb') as file:
        grey = decode_xray(file.read(), path, window)
    if polarity != 'as_stored' and looks_inverted(grey):
        print_log(
            f'X-ray looks inverted{" and is mended" * (polarity == "mend")}: {path}',
            logger='current',
            level=logging.WARNING,
        )
        if polarity == 'mend':
            grey = 255 - grey
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)


def check_options(polarity: str, window: Window) -> None:
    """Raise ValueError for what :func:`read_xray` does not take."""
    if polarity not in POLARITIES:
        raise ValueError(f'polarity={polarity!r} must be one of {", ".join(POLARITIES)}')
    if window in ('bits', 'range'):
        return
    if isinstance(window, str) or len(window) != 2 or not window[0] < window[1]:
        raise ValueError(
            f"window={window!r} must be 'bits', 'range' or (black, white) "
            'with black < white, in stored values'
        )


def decode_xray(
    data: bytes, path: str = '', window: Window = 'bits', max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Bytes of an X-ray file as (H, W) uint8; ``path`` tells its kind, and is named in warnings.

    Raises:
        UnreadableImageError: With the reason.
    """
    suffix = os.path.splitext(path)[1].lower()
    scale = partial(to_8bit, window=window)
    if is_dicom(data, suffix):
        return decode_dicom(data, scale, max_pixels, path)
    if suffix == '.img':
        return _decode_jsrt(data, window)
    img = decode_image(data, to_8bit=scale, max_pixels=max_pixels, path=path)
    return cv2.cvtColor(img, cv2.COLOR_BGR2GRAY)


def to_8bit(samples: np.ndarray, window: Window = 'bits') -> np.ndarray:
    """Samples of more than 8 bits to uint8, linearly, clipped at the window's ends.

    A 16-bit file often holds 12 or 14 used bits; divided by 257 it would be black.

    Args:
        samples (np.ndarray): Unsigned integers, or anything ordered for an explicit window.
        window: ``'bits'``: from 0 to 2^b - 1 with the least b >= 8 that holds the
            largest sample. It hardly depends on the picture: exposures of one device
            stay comparable, and no more than half of the grey levels stay unused.
            ``'range'``: from the 0.1th to the 99.9th percentile, for files where a few
            burnt-in white pixels feign more bits. Or (black, white) in stored values.

    Returns:
        np.ndarray: uint8 of the same shape.
    """
    low: Any
    high: Any
    if window == 'bits':
        low, high = 0, 2 ** max(8, int(samples.max()).bit_length()) - 1
    elif window == 'range':
        low, high = np.percentile(samples, (0.1, 99.9))
        high = max(high, low + 1)
    else:
        low, high = cast(tuple[float, float], window)
    scaled = (samples.astype(np.float32) - low) * (255.0 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _decode_jsrt(data: bytes, window: Window) -> np.ndarray:
    if len(data) != _JSRT_BYTES:
        raise UnreadableImageError(
            f'{len(data)} bytes; a raw X-ray of JSRT (.IMG) has {_JSRT_BYTES}: '
            '2048 x 2048 big-endian samples of two bytes, without a header'
        )
    samples = np.frombuffer(data, '>u2').reshape(_JSRT_SIDE, _JSRT_SIDE)
    if samples.max() > _JSRT_MAX:
        raise UnreadableImageError(
            f"a sample is {samples.max()}, above the {_JSRT_MAX} of JSRT's 12 bits: "
            'not an image of JSRT, or its bytes are swapped'
        )
    if window == 'bits':  # known here, whatever the brightest sample is
        window = (0, _JSRT_MAX)
    return to_8bit(_JSRT_MAX - samples, window)


def looks_inverted(grey: np.ndarray) -> bool:
    """Whether a frontal chest X-ray seems to be stored with bright lungs.

    Compares two fields where the lungs are with the strip of spine and heart
    between them. The difference changes its sign with the image's, so an error on a
    right image is the same error on its negative.

    Of 1,722 frontal X-rays at hand (JSRT, Montgomery, Shenzhen, mostly paediatric ones)
    1 is taken for inverted, a rotated child with one white lung, and of their
    negatives 1 for right: 0.06 %. Nothing was fitted to them
    (``tests/test_io/test_xray.py``, on the real images). For lateral views,
    crops and other bodies it means nothing.

    Args:
        grey (np.ndarray): (H, W) uint8, the whole frontal image.
    """
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    lungs = (small[8:18, 5:11].mean() + small[8:18, 21:27].mean()) / 2
    return bool(lungs > small[8:26, 14:18].mean())
