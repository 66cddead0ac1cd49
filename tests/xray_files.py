"""Small X-ray files for the tests: DICOM, raw JSRT, downloads in their original layout."""

import io
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

DX = '1.2.840.10008.5.1.4.1.1.1.1'


def dicom_bytes(
    pixels: np.ndarray,
    bits: int = 12,
    syntax=ExplicitVRLittleEndian,
    preamble: bool = True,
    **fields,
) -> bytes:
    """A DX image: uint16 or int16 pixels (H, W), or uint8 (H, W, 3); further fields by keyword."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DX
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    file = FileDataset('', {}, file_meta=meta, preamble=b'\0' * 128)
    file.SOPClassUID, file.SOPInstanceUID = DX, meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = pixels.shape[:2]
    color = pixels.ndim == 3
    file.SamplesPerPixel = 3 if color else 1
    if color:
        file.PlanarConfiguration = 0
    file.PhotometricInterpretation = 'RGB' if color else 'MONOCHROME2'
    file.BitsAllocated = 8 * pixels.dtype.itemsize
    file.BitsStored = min(bits, file.BitsAllocated)
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = int(pixels.dtype.kind == 'i')
    file.PixelData = pixels.tobytes()
    file['PixelData'].VR = 'OW' if pixels.dtype.itemsize == 2 else 'OB'
    for name, value in fields.items():
        setattr(file, name, value)
    out = io.BytesIO()
    if preamble:
        file.save_as(out, enforce_file_format=True)
        return out.getvalue()
    bare = Dataset(file)
    pydicom.dcmwrite(out, bare, implicit_vr=True, little_endian=True)
    return out.getvalue()


def lut(values, first: int = 0, bits: int = 8, explanation: str = 'test') -> pydicom.Sequence:
    """A modality or VOI look-up table of one item."""
    item = Dataset()
    item.add_new('LUTDescriptor', 'US', [len(values), first, bits])
    item.add_new('LUTData', 'US', [int(v) for v in values])
    item.LUTExplanation = explanation
    return pydicom.Sequence([item])


def jsrt_bytes(shown: np.ndarray) -> bytes:
    """JSRT's raw form of an image (2048, 2048) of 0..4095 in which dense tissue is bright."""
    return (4095 - shown).astype('>u2').tobytes()


def disc(size: int, x: float, y: float = 0.5, radius: float = 0.15) -> np.ndarray:
    """(size, size) uint8, 255 within a disc; center and radius as shares of the side."""
    grid = (np.arange(size) + 0.5) / size
    return (np.hypot(grid[None] - x, grid[:, None] - y) < radius).astype(np.uint8) * 255


def write(path: Path, array: np.ndarray, **kwargs) -> Path:
    """An image file through Pillow; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **kwargs)
    return path
