"""DICOM X-rays to 8-bit grey, as a viewer shows them (PS3.3, C.11)."""

import io
from collections.abc import Callable

import cv2
import numpy as np

from orl_mm.io.image import MAX_PIXELS, UnreadableImageError, check_pixels, warn_once

DICOM_SUFFIXES = ('.dcm', '.dicom')


def is_dicom(data: bytes, suffix: str = '') -> bool:
    """By the mark after the preamble; old files without one by their suffix."""
    return data[128:132] == b'DICM' or suffix in DICOM_SUFFIXES


def decode_dicom(
    data: bytes,
    scale: Callable[[np.ndarray], np.ndarray],
    max_pixels: int = MAX_PIXELS,
    path: str = '',
) -> np.ndarray:
    """Decode one frame: modality LUT, VOI LUT or window, ``MONOCHROME1`` inverted.

    Of several windows the first is taken. Without any, ``scale`` brings the
    stored values to 8 bits. Padding is black, and no part of the scale; color becomes
    luminance. Optional elements that cannot be used, such as a window of width 0, count as
    absent, with a warning.

    Args:
        data (bytes): The file's content.
        scale (callable): uint16 samples to uint8.
        max_pixels (int): Larger images are refused by their header.
        path (str): The file's name, for warnings.

    Returns:
        np.ndarray: (H, W) uint8.

    Raises:
        UnreadableImageError: With the reason; several frames, and transfer
            syntaxes that no installed package decodes, are such.
        ModuleNotFoundError: pydicom is not installed.
    """
    try:
        import pydicom
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('DICOM files need pydicom; type: pip install pydicom') from error
    try:
        file = pydicom.dcmread(io.BytesIO(data), force=True)
        check_pixels(int(file.get('Rows', 0) or 0), int(file.get('Columns', 0) or 0), max_pixels)
        _drop_unusable(file, path)
        return _render(file, scale)
    except UnreadableImageError:
        raise
    except Exception as error:  # pydicom raises what it pleases
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise UnreadableImageError(f'DICOM: {reason}') from error


def _render(file, scale: Callable) -> np.ndarray:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    stored = _pixels(file)
    if stored.ndim == 3:
        return cv2.cvtColor(np.ascontiguousarray(stored), cv2.COLOR_RGB2GRAY)

    padding = _padding(file, stored)
    values = apply_modality_lut(stored, file)
    if file.get('VOILUTSequence'):
        values = np.rint(values).astype(np.int32)  # a table is looked up by whole numbers
    low, high = _shown_ends(file)
    shown = apply_voi_lut(values, file)
    falling = False
    if shown is not values:
        grey = np.rint((shown.astype(np.float64) - low) * (255.0 / (high - low)))
        grey = np.clip(grey, 0, 255).astype(np.uint8)
    elif file.get('ModalityLUTSequence'):
        grey = scale(values.astype(np.uint16))
    else:  # a linear rescaling changes nothing but, perhaps, the direction
        shown = stored[~padding] if padding.any() and not padding.all() else stored
        low = min(0, int(shown.min()))
        grey = scale((np.clip(stored, shown.min(), shown.max()) - low).astype(np.uint16))
        falling = float(file.get('RescaleSlope', 1)) < 0
    if (file.PhotometricInterpretation == 'MONOCHROME1') != falling:
        grey = 255 - grey
    grey[padding] = 0
    return grey


def _drop_unusable(file, path: str) -> None:
    """Delete optional elements that say nothing, or nothing possible."""
    from pydicom.multival import MultiValue

    def number(name: str) -> float:
        value = file.get(name)
        value = value[0] if isinstance(value, MultiValue) and len(value) else value
        try:
            return float(value)
        except (TypeError, ValueError):
            return np.nan

    if 'VOILUTFunction' in file and not file.VOILUTFunction:
        del file.VOILUTFunction  # pydicom refuses an empty one
    linear = file.get('VOILUTFunction', 'LINEAR') in (None, '', 'LINEAR')
    fine = {
        ('WindowWidth', 'WindowCenter'): number('WindowWidth') >= (1 if linear else 1e-6)
        and np.isfinite(number('WindowCenter')),
        ('RescaleSlope', 'RescaleIntercept'): np.isfinite(number('RescaleIntercept'))
        and np.isfinite(number('RescaleSlope'))
        and number('RescaleSlope') != 0,
        ('PixelPaddingValue',): np.isfinite(number('PixelPaddingValue')),
        ('PixelPaddingRangeLimit',): np.isfinite(number('PixelPaddingRangeLimit')),
    }
    for names, usable in fine.items():
        there = [name for name in names if name in file]
        if there and not usable:
            warn_once(f'DICOM with unusable {" or ".join(there)}, read as if absent', path)
            for name in there:
                del file[name]
    for name in ('VOILUTSequence', 'ModalityLUTSequence'):
        if name in file and not (file[name].value and file[name].value[0].get('LUTDescriptor')):
            warn_once(f'DICOM with unusable {name}, read as if absent', path)
            del file[name]
    shape = file.get('PresentationLUTShape')
    if shape == 'INVERSE' and file.get('PhotometricInterpretation') == 'MONOCHROME2':
        warn_once('DICOM in MONOCHROME2 with PresentationLUTShape INVERSE: is it a negative?', path)


def _pixels(file) -> np.ndarray:
    """Stored values of the only frame: (H, W) integers, or (H, W, 3) uint8 RGB."""
    from pydicom.pixels import pixel_array
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if 'PixelData' not in file:
        raise UnreadableImageError('DICOM without pixel data, or no DICOM file at all')
    frames = int(file.get('NumberOfFrames', 1) or 1)
    if frames != 1:
        raise UnreadableImageError(f'DICOM with {frames} frames; an X-ray has one')
    kind = file.get('PhotometricInterpretation', '')
    if kind not in ('MONOCHROME1', 'MONOCHROME2', 'RGB') and not kind.startswith('YBR'):
        raise UnreadableImageError(f'DICOM with PhotometricInterpretation {kind!r} is no X-ray')
    if 'TransferSyntaxUID' not in file.file_meta:  # written without a preamble
        file.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if file.original_encoding[0] else ExplicitVRLittleEndian
        )
    syntax = file.file_meta.TransferSyntaxUID
    try:
        pixels = pixel_array(file)  # color comes as RGB
    except (RuntimeError, NotImplementedError) as error:
        reason = ' '.join(str(error).split())
        what = f'DICOM in transfer syntax {syntax.name} ({syntax})'
        if _decodable(syntax):
            raise UnreadableImageError(f'{what}: its pixel data is damaged. {reason}') from error
        raise UnreadableImageError(
            f'{what}, which nothing installed decodes: decompress it (gdcmconv --raw, dcmdjpeg) '
            f'or install pylibjpeg. {reason}'
        ) from error
    if pixels.dtype.itemsize > 2 or (pixels.ndim == 3 and pixels.dtype != np.uint8):
        raise UnreadableImageError(f'DICOM with samples of {pixels.dtype}: up to 16 bits are read')
    return pixels


def _decodable(syntax) -> bool:
    from pydicom.pixels import get_decoder

    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _shown_ends(file) -> tuple[float, float]:
    """The range of what ``apply_voi_lut`` returns; a table of 8 bits is prepared for it."""
    if file.get('VOILUTSequence'):
        descriptor = file.VOILUTSequence[0].LUTDescriptor
        bits = descriptor[2]
        if bits == 8:  # pydicom would hold the *inputs* in 8 bits too, and wrap them around
            file.VOILUTSequence[0].LUTDescriptor = [*descriptor[:2], 16]
        return 0, 2**bits - 1
    if file.get('ModalityLUTSequence'):
        return 0, 2 ** file.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    bits, signed = file.BitsStored, file.PixelRepresentation
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = file.get('RescaleSlope'), file.get('RescaleIntercept')
    if slope is None or intercept is None:
        return low, high
    return low * slope + intercept, high * slope + intercept


def _padding(file, stored: np.ndarray) -> np.ndarray:
    """Where the detector saw nothing: (H, W) bool, by value or by a range of values."""
    first = file.get('PixelPaddingValue')
    if first is None:
        return np.zeros(stored.shape, bool)
    last = file.get('PixelPaddingRangeLimit', first)
    return (stored >= min(first, last)) & (stored <= max(first, last))
