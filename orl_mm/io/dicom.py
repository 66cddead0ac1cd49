"""DICOM X-rays to 8-bit grey, as a viewer shows them (PS3.3, C.11)."""

import io
from collections.abc import Callable

import cv2
import numpy as np

from orl_mm.io.image import UnreadableImageError

DICOM_SUFFIXES = ('.dcm', '.dicom')


def is_dicom(data: bytes, suffix: str = '') -> bool:
    """By the mark after the preamble; old files without one by their suffix."""
    return data[128:132] == b'DICM' or suffix in DICOM_SUFFIXES


def decode_dicom(data: bytes, scale: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Decode one frame: modality LUT, VOI LUT or window, ``MONOCHROME1`` inverted.

    Of several windows the first is taken. Without any, ``scale`` brings the
    stored values to 8 bits. Padding is black; colour becomes luminance.

    Args:
        data (bytes): The file's content.
        scale (callable): uint16 samples to uint8.

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
        return _render(pydicom.dcmread(io.BytesIO(data), force=True), scale)
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
        grey = scale((stored - min(0, int(stored.min()))).astype(np.uint16))
        falling = float(file.get('RescaleSlope', 1)) < 0
    if (file.PhotometricInterpretation == 'MONOCHROME1') != falling:
        grey = 255 - grey
    grey[_padding(file, stored)] = 0
    return grey


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
        pixels = pixel_array(file)  # colour comes as RGB
    except (RuntimeError, NotImplementedError) as error:
        raise UnreadableImageError(
            f'DICOM in transfer syntax {syntax.name} ({syntax}), which nothing installed decodes: '
            f'decompress it (gdcmconv --raw, dcmdjpeg) or install pylibjpeg. '
            f'{" ".join(str(error).split())}'
        ) from error
    if pixels.dtype.itemsize > 2 or (pixels.ndim == 3 and pixels.dtype != np.uint8):
        raise UnreadableImageError(f'DICOM with samples of {pixels.dtype}: up to 16 bits are read')
    return pixels


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
