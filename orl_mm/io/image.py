"""Bytes of an image file to 8-bit BGR pixels, for loader and cache."""

import io
import struct
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageOps


class UnreadableImageError(ValueError):
    """The bytes are no whole image that can be shown in 8 bits."""


def by_full_range(samples: np.ndarray) -> np.ndarray:
    """uint16 to uint8, 65535 to 255, rounded."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def decode_image(
    data: bytes,
    background: int | None = 255,
    apply_exif: bool = False,
    to_8bit: Callable[[np.ndarray], np.ndarray] = by_full_range,
) -> np.ndarray:
    """Decode an image file of any common format.

    JPEG goes through OpenCV after a check of its markers, because OpenCV
    fills what is missing of a cut JPEG with grey and says nothing. Everything
    else, and CMYK JPEG, goes through Pillow, which notices. By default 16-bit
    samples are divided by 257 and rounded (65535 becomes 255); nothing is clipped.

    Args:
        data (bytes): The file's content.
        background (int, optional): Grey level 0..255 under transparent
            pixels; None drops the alpha channel and shows what it hid.
        apply_exif (bool): Turn the image as its EXIF orientation says.
            ImageNet practice is not to.
        to_8bit (callable): uint16 samples of any shape, transparency left out,
            to uint8 ones.

    Returns:
        np.ndarray: (H, W, 3) uint8, BGR, contiguous.

    Raises:
        UnreadableImageError: With the reason.
    """
    try:
        if data[:3] == b'\xff\xd8\xff':
            if _jpeg_components(data) in (1, 3):
                return _decode_jpeg(data, apply_exif)
        elif data[:8] == b'\x89PNG\r\n\x1a\n' and data[24:25] == b'\x10':
            return _decode_png16(data, background, to_8bit)
        return _decode_pillow(data, background, apply_exif, to_8bit)
    except UnreadableImageError:
        raise
    except Exception as error:  # decoders raise what they please
        reason = f'{type(error).__name__}: {error}'
        raise UnreadableImageError(reason) from error


def _jpeg_components(data: bytes) -> int:
    """Walk the markers up to the scan; the number of colour components there."""
    pos, components = 2, 0
    while True:
        while data[pos : pos + 1] == b'\xff' and data[pos + 1 : pos + 2] == b'\xff':
            pos += 1  # fill bytes
        if pos + 4 > len(data) or data[pos] != 0xFF:
            raise UnreadableImageError('JPEG cut or broken in its header')
        marker = data[pos + 1]
        length = struct.unpack_from('>H', data, pos + 2)[0]
        # SOF0..SOF15 without DHT, JPG and DAC
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            components = data[pos + 9]
        if marker == 0xDA:
            break
        pos += 2 + length
    # Inside the scan every FF is stuffed, so FF D9 can only be its end; an
    # embedded thumbnail's end lies before the scan.
    if data.rfind(b'\xff\xd9') < pos:
        raise UnreadableImageError(f'JPEG truncated: no end-of-image marker in {len(data)} bytes')
    return components


def _decode_jpeg(data: bytes, apply_exif: bool) -> np.ndarray:
    flags = cv2.IMREAD_COLOR
    if not apply_exif:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    img = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if img is None:
        raise UnreadableImageError('OpenCV cannot decode this JPEG')
    return img


def _decode_png16(data: bytes, background: int | None, to_8bit: Callable) -> np.ndarray:
    # Pillow clips 16-bit grey and strips 16-bit colour; OpenCV keeps both, but
    # is silent about missing rows: so look for the end chunk first.
    Image.open(io.BytesIO(data)).verify()
    if data.find(b'IEND\xaeB`\x82') < 0:
        raise UnreadableImageError('PNG truncated: no end chunk')
    img = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if img is None:
        raise UnreadableImageError('OpenCV cannot decode this 16-bit PNG')
    if img.ndim == 2:
        img = img[..., None]
    alpha = img[..., -1:] if img.shape[2] in (2, 4) else None
    if alpha is not None:
        img = img[..., :-1]
    if img.dtype == np.uint16:
        img = to_8bit(img)
        alpha = alpha if alpha is None else by_full_range(alpha)
    if alpha is not None:
        img = _composite(img, alpha, background)
    if img.shape[2] == 1:
        img = img.repeat(3, axis=2)
    return np.ascontiguousarray(img)


def _decode_pillow(
    data: bytes, background: int | None, apply_exif: bool, to_8bit: Callable
) -> np.ndarray:
    pil: Image.Image = Image.open(io.BytesIO(data))
    pil.load()
    if apply_exif:
        pil = ImageOps.exif_transpose(pil)
    if pil.mode.startswith('I;16'):
        grey = to_8bit(np.asarray(pil).astype(np.uint16))
        return np.repeat(grey[..., None], 3, axis=2)
    if pil.mode in ('I', 'F'):
        raise UnreadableImageError(
            f'{pil.format} with mode {pil.mode}: 32-bit samples have no fixed '
            'range; convert it to 8 or 16 bits'
        )
    if 'A' in pil.getbands() or 'a' in pil.getbands() or 'transparency' in pil.info:
        rgba = np.asarray(pil.convert('RGBA'))
        rgb = _composite(rgba[..., :3], rgba[..., 3:], background)
    else:
        rgb = np.asarray(pil.convert('RGB'))
    return np.ascontiguousarray(rgb[..., ::-1])


def _composite(colour: np.ndarray, alpha: np.ndarray, background: int | None) -> np.ndarray:
    if background is None:
        return colour
    a = alpha.astype(np.uint32)
    mixed = colour * a + background * (255 - a)
    return ((mixed + 127) // 255).astype(np.uint8)
