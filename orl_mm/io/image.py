"""Bytes of an image file to 8-bit BGR pixels, for loader and cache."""

import io
import logging
import os
import struct
import zlib
from collections.abc import Callable
from typing import BinaryIO

import cv2
import numpy as np
from mmengine.logging import print_log
from PIL import Image, ImageOps, UnidentifiedImageError

from orl_mm.errors import UserError

try:
    import simplejpeg
except ImportError:  # OpenCV decodes then, and hides what libjpeg reports
    simplejpeg = None  # type: ignore[assignment]  # a module where it is installed

MAX_PIXELS = 178_956_970  # above it Pillow speaks of a decompression bomb
# Pillow's formats without those that start other programs (EPS) or are known by nothing in the
# file (TGA).
FORMATS = ['JPEG', 'PNG', 'GIF', 'BMP', 'DIB', 'TIFF', 'WEBP', 'PPM', 'JPEG2000']
# Legal files that simplejpeg refuses although nothing is wrong with their pixels.
_REFUSED = ('subsampling', 'JFIF revision')
_PNG = b'\x89PNG\r\n\x1a\n'
_ORIENTATION = 0x0112  # tag of EXIF
_warned: set[str] = set()


class UnreadableImageError(ValueError):
    """The bytes are no whole image that can be shown in 8 bits."""


def warn_once(what: str, path: str) -> None:
    """Log the first file of a kind, once for each process."""
    if what not in _warned:
        _warned.add(what)
        print_log(f'{what}; first {path}', logger='current', level=logging.WARNING)


def by_full_range(samples: np.ndarray) -> np.ndarray:
    """uint16 to uint8, 65535 to 255, rounded."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def decode_image(
    data: bytes,
    background: int | None = 255,
    apply_exif: bool = False,
    to_8bit: Callable[[np.ndarray], np.ndarray] = by_full_range,
    max_pixels: int = MAX_PIXELS,
    path: str = '',
) -> np.ndarray:
    """Decode an image file of any common format.

    A file is damaged if its decoder reports anything. JPEG goes through simplejpeg, because
    OpenCV and Pillow show what is left of a damaged JPEG and hide libjpeg's warnings; PNG of 16
    bits goes through OpenCV, everything else through Pillow. JPEG has no checksum: an altered
    byte that leaves a legal stream is not noticed. By default 16-bit samples are divided by 257
    and rounded (65535 becomes 255); nothing is clipped.

    Args:
        data (bytes): The file's content.
        background (int, optional): Grey level 0..255 under transparent
            pixels; None drops the alpha channel and shows what it hid.
        apply_exif (bool): Turn the image as its EXIF orientation says.
            ImageNet practice is not to.
        to_8bit (callable): uint16 samples of any shape, transparency left out,
            to uint8 ones.
        max_pixels (int): Larger images are refused by their header, before memory is taken.
        path (str): The file's name, for warnings.

    Returns:
        np.ndarray: (H, W, 3) uint8, BGR, contiguous.

    Raises:
        UnreadableImageError: With the reason.
    """
    try:
        if data[:3] == b'\xff\xd8\xff':
            height, width, components = _jpeg_header(data)
            check_pixels(height, width, max_pixels)
            if data[-2:] != b'\xff\xd9':
                warn_once('bytes after the end of a JPEG are ignored', path)
            if components in (1, 3):
                img = _decode_jpeg(data, path)
                return _turn(img, orientation(data)) if apply_exif else img
            if simplejpeg is not None:
                simplejpeg.decode_jpeg(data, 'CMYK')  # Pillow knows the colors, and no damage
        elif data[:8] == _PNG:
            _check_png(data)
            if data[24:25] == b'\x10':
                return _decode_png16(data, background, to_8bit, max_pixels)
        return _decode_pillow(data, background, apply_exif, to_8bit, max_pixels)
    except UnreadableImageError:
        raise
    except Exception as error:  # decoders raise what they please
        reason = f'{type(error).__name__}: {error}'
        raise UnreadableImageError(reason) from error


def check_pixels(height: int, width: int, limit: int = MAX_PIXELS) -> None:
    """Raise UnreadableImageError for an image with more pixels than the limit."""
    if height * width > limit:
        raise UnreadableImageError(
            f'its header says {height} x {width}, more than max_pixels={limit}: raise the limit '
            'if the image is that large'
        )


def open_image(source: bytes | BinaryIO, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image with Pillow, in a format that starts no other program.

    Args:
        source: The file's content, or the open file, of which the header is read.
        max_pixels (int): Larger images are refused.

    Raises:
        UnreadableImageError: Another format, or too many pixels.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        pil = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        raise UnreadableImageError(
            f'no image of a known format; it begins with {file.read(16)!r}'
        ) from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    check_pixels(pil.height, pil.width, max_pixels)
    return pil


def read_stored(path: str, convert: str | None = None) -> np.ndarray:
    """A file's samples as they are stored, such as a mask's: (H, W), or (H, W, C).

    Args:
        path (str): Of the file. The indices of a palette are its samples.
        convert (str, optional): Pillow's mode to convert 8-bit samples to.

    Raises:
        UnreadableImageError: With path and reason.
    """
    try:
        with open(path, 'rb') as file:
            pil = open_image(file)
            wide = pil.mode[0] in 'IF'  # Pillow would clip them at 255
            return np.asarray(pil if wide or convert is None else pil.convert(convert))
    except Exception as error:  # decoders raise what they please
        raise UnreadableImageError(f'cannot be read: {path} ({error})') from error


def orientation(source: bytes | BinaryIO) -> int:
    """EXIF's orientation of an image file, 1 to 8; 1 where there is none."""
    try:
        found = open_image(source, max_pixels=2**62).getexif().get(_ORIENTATION, 1)
    except Exception:  # no image of Pillow's, or damaged EXIF: an optional field
        return 1
    return found if found in range(1, 9) else 1


def check_stored_frame(results: dict) -> None:
    """Raise UserError if an image with masks was loaded in another frame than it is displayed in.

    Args:
        results (dict): A sample of ``LoadImage``: with ``img_path`` and ``exif_applied``.
    """
    if results.get('exif_applied', True) or not os.path.isfile(results['img_path']):
        return
    with open(results['img_path'], 'rb') as file:
        found = orientation(file)
    if found != 1:
        raise UserError(
            f'{results["img_path"]} has EXIF orientation {found}: viewers turn it, and masks drawn '
            'there do not fit what was loaded. Load it by LoadImage(apply_exif=True), or store '
            'image and mask turned'
        )


def _turn(img: np.ndarray, orientation: int) -> np.ndarray:
    """From the stored to the displayed frame."""
    if orientation > 4:
        img = img.transpose(1, 0, 2)
    rows, columns = (1, 1, -1, -1, 1, 1, -1, -1), (1, -1, -1, 1, 1, -1, -1, 1)
    return np.ascontiguousarray(img[:: rows[orientation - 1], :: columns[orientation - 1]])


def _jpeg_header(data: bytes) -> tuple[int, int, int]:
    """Walk the markers up to the scan: height, width and number of color components."""
    pos, shape = 2, (0, 0, 0)
    while True:
        while data[pos : pos + 1] == b'\xff' and data[pos + 1 : pos + 2] == b'\xff':
            pos += 1  # fill bytes
        if pos + 4 > len(data) or data[pos] != 0xFF:
            raise UnreadableImageError('JPEG cut or broken in its header')
        marker = data[pos + 1]
        length = struct.unpack_from('>H', data, pos + 2)[0]
        # SOF0..SOF15 without DHT, JPG and DAC
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            shape = struct.unpack_from('>HHB', data, pos + 5)
        if marker == 0xDA:
            break
        pos += 2 + length
    # Inside the scan every FF is stuffed, so FF D9 can only be its end; an
    # embedded thumbnail's end lies before the scan.
    if data.rfind(b'\xff\xd9') < pos:
        raise UnreadableImageError(f'JPEG truncated: no end-of-image marker in {len(data)} bytes')
    return shape


def _decode_jpeg(data: bytes, path: str) -> np.ndarray:
    """(H, W, 3) BGR in the stored frame; simplejpeg and OpenCV give equal pixels."""
    if simplejpeg is not None:
        try:
            return simplejpeg.decode_jpeg(data, 'BGR')
        except ValueError as error:
            if not any(words in str(error) for words in _REFUSED):
                raise UnreadableImageError(f'JPEG: {error}') from error
    else:
        warn_once('OpenCV hides damage inside JPEG files: pip install simplejpeg', path)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    img = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if img is None:
        raise UnreadableImageError('OpenCV cannot decode this JPEG')
    return img


def _check_png(data: bytes) -> None:
    """Check the checksums of the chunks that pixels depend on; Pillow skips most."""
    view, pos = memoryview(data), len(_PNG)
    while pos + 12 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, pos)
        end = pos + 8 + length
        found = struct.unpack_from('>I', data, end)[0] if end + 4 <= len(data) else None
        if kind[:1].isupper() and found != zlib.crc32(view[pos + 4 : end]):
            raise UnreadableImageError(f'PNG damaged: checksum of {kind.decode("latin1")}')
        if kind == b'IEND':
            return
        pos = end + 4
    raise UnreadableImageError('PNG truncated: no end chunk')


def _decode_png16(
    data: bytes, background: int | None, to_8bit: Callable, max_pixels: int
) -> np.ndarray:
    # Pillow clips 16-bit grey and strips 16-bit color; OpenCV keeps both.
    open_image(data, max_pixels)
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
    data: bytes, background: int | None, apply_exif: bool, to_8bit: Callable, max_pixels: int
) -> np.ndarray:
    pil = open_image(data, max_pixels)
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


def _composite(color: np.ndarray, alpha: np.ndarray, background: int | None) -> np.ndarray:
    if background is None:
        return color
    a = alpha.astype(np.uint32)
    mixed = color * a + background * (255 - a)
    return ((mixed + 127) // 255).astype(np.uint8)
