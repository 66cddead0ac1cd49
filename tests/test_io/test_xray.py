import copy
import io
import logging
import sys
from functools import partial

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless
from torch.utils.data import DataLoader

from orl_mm.datasets.image_list import ImageList
from orl_mm.datasets.transforms import LoadXray
from orl_mm.io import xray as xray_io
from orl_mm.io.image import UnreadableImageError, decode_image
from orl_mm.io.xray import decode_xray, looks_inverted, read_xray, to_8bit
from orl_mm.registry import TRANSFORMS
from tests import xray_files as files


def png(array: np.ndarray) -> bytes:
    done, data = cv2.imencode('.png', array)
    assert done
    return data.tobytes()


def chest(size: int = 64) -> np.ndarray:
    """Two dark lungs in a grey body, uint8."""
    lungs = files.disc(size, 0.28, 0.4) | files.disc(size, 0.72, 0.4)
    return np.where(lungs > 0, 40, 180).astype(np.uint8)


def test_8_bit_grey_and_rgb_are_the_same_picture(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    cv2.imwrite(str(tmp_path / 'grey.png'), grey)
    cv2.imwrite(str(tmp_path / 'rgb.png'), np.dstack([grey] * 3))
    for name in ('grey.png', 'rgb.png'):
        img = read_xray(str(tmp_path / name))
        assert (img.shape, img.dtype) == ((16, 16, 3), np.uint8)
        assert img.flags.c_contiguous
        assert (img == grey[..., None]).all()


def test_color_becomes_luminance():
    img = np.zeros((1, 3, 3), np.uint8)
    img[0, [0, 1, 2], [2, 1, 0]] = 255  # red, green, blue in BGR order
    assert decode_xray(png(img)).tolist() == [[76, 150, 29]]  # 0.299, 0.587, 0.114 of 255


def test_16_bit_png_of_12_used_bits_is_not_black():
    samples = np.array([[0, 1024, 2048, 4095]], np.uint16)
    assert decode_xray(png(samples)).tolist() == [[0, 64, 128, 255]]
    assert decode_image(png(samples))[..., 0].tolist() == [[0, 4, 8, 16]]  # LoadImage's rule


@pytest.mark.parametrize(
    ('top', 'bits'), [(200, 8), (255, 8), (256, 9), (1000, 10), (4095, 12), (4096, 13), (65535, 16)]
)
def test_window_of_used_bits(top, bits):
    samples = np.array([0, top], np.uint16)
    assert to_8bit(samples).tolist() == [0, round(255 * top / (2**bits - 1))]


def test_other_windows():
    samples = np.array([0, 500, 1000, 1500, 2000, 65535], np.uint16)
    assert to_8bit(samples, (500, 1500)).tolist() == [0, 0, 128, 255, 255, 255]
    many = np.arange(1, 4001, dtype=np.uint16)
    many[0] = 65535  # a burnt-in mark
    assert to_8bit(many).max() == 255
    assert to_8bit(many)[-1] == 16
    shown = to_8bit(many, 'range')
    assert shown[0] == 255
    assert abs(int(shown[2000]) - 127) <= 1
    assert (to_8bit(np.full(9, 700, np.uint16), 'range') == 0).all()


def test_16_bit_alpha_is_not_windowed():
    samples = np.zeros((1, 3, 4), np.uint16)
    samples[0, :, 3] = 0, 257 * 51, 257 * 51  # transparent over white, or opaque by a fifth
    samples[0, 2, :3] = 4095  # white, of 12 bits
    assert decode_xray(png(samples)).tolist() == [[255, 204, 255]]


def test_16_bit_tiff():
    out = io.BytesIO()
    Image.fromarray(np.array([[0, 2048, 4095]], np.uint16)).save(out, 'TIFF')
    assert decode_xray(out.getvalue()).tolist() == [[0, 128, 255]]


def test_jsrt_raw(tmp_path):
    shown = np.zeros((2048, 2048), np.uint16)
    shown[0, :4] = 0, 1024, 2048, 4095  # the first row, from the left
    shown[-1, 0] = 4095
    path = tmp_path / 'JPCLN001.IMG'
    path.write_bytes(files.jsrt_bytes(shown))
    img = read_xray(str(path))
    assert img.shape == (2048, 2048, 3)
    assert img[0, :4, 0].tolist() == [0, 64, 128, 255]
    assert img[-1, 0, 0] == 255
    assert np.fromfile(path, '>u2')[1] == 4095 - 1024  # stored the other way round


def test_jsrt_scale_is_fixed():
    """A dark film stays dark: the range is 12 bits, not up to the brightest sample."""
    shown = np.full((2048, 2048), 400, np.uint16)
    assert (decode_xray(files.jsrt_bytes(shown), 'a.IMG') == 25).all()


RAMP = np.array([[0, 1000, 2000, 4095]], np.uint16)
SHOWN = [0, 62, 125, 255]  # of 12 bits
dicom = partial(files.dicom_bytes, RAMP)


@pytest.mark.parametrize(
    ('data', 'expected'),
    [
        (dicom(), SHOWN),
        (dicom(bits=16), SHOWN),  # 12 bits declared as 16
        (dicom(PhotometricInterpretation='MONOCHROME1'), [255, 193, 130, 0]),
        (dicom(ModalityLUTSequence=files.lut(4095 - np.arange(4096), bits=16)), [255, 193, 130, 0]),
        (dicom(RescaleSlope=0.0001, RescaleIntercept=-7), SHOWN),  # changes at most the direction
        (dicom(RescaleSlope=-1, RescaleIntercept=4095), [255, 193, 130, 0]),
        (files.dicom_bytes(np.array([[-1000, 0, 1000, 3095]], np.int16), bits=16), SHOWN),
    ],
)
def test_dicom(data, expected):
    assert decode_xray(data, 'no_suffix').tolist() == [expected]


def test_dicom_window():
    """PS3.3 C.11.2.1.2, by hand: y = ((x - (c - .5)) / (w - 1) + .5) * 255."""
    window = dict(WindowCenter=1500, WindowWidth=2001)
    shown = decode_xray(dicom(**window))
    expected = np.clip(((RAMP - 1499.5) / 2000 + 0.5) * 255, 0, 255)
    assert (shown == np.rint(expected)).all()
    several = decode_xray(dicom(WindowCenter=[1500, 9], WindowWidth=[2001, 9]))
    assert (several == shown).all()
    inverted = decode_xray(dicom(PhotometricInterpretation='MONOCHROME1', **window))
    assert (inverted == 255 - shown).all()


def test_dicom_window_after_rescaling():
    """The window is in units of the modality: 0.5 x - 100."""
    scale = dict(RescaleSlope=0.5, RescaleIntercept=-100)
    data = dicom(WindowCenter=400.5, WindowWidth=1001, **scale)
    expected = np.clip((0.5 * RAMP - 100 - 400) / 1000 * 255 + 127.5, 0, 255)
    assert np.abs(decode_xray(data) - expected).max() <= 0.5


@pytest.mark.parametrize('bits', [8, 12, 16])
def test_voi_table(bits):
    """A table of 4096 squares, scaled to its own number of bits."""
    table = np.rint((np.arange(4096) / 4095) ** 2 * (2**bits - 1))
    lut = files.lut(table, bits=bits)
    data = dicom(VOILUTSequence=lut, RescaleSlope=1, RescaleIntercept=0)
    assert np.abs(decode_xray(data) - (RAMP / 4095.0) ** 2 * 255).max() <= 1


def test_padding_is_black():
    pixels = np.array([[4095, 0, 2000, 4000]], np.uint16)
    for kind in ('MONOCHROME1', 'MONOCHROME2'):
        data = files.dicom_bytes(pixels, PixelPaddingValue=4095, PhotometricInterpretation=kind)
        assert decode_xray(data)[0, 0] == 0
    ranged = files.dicom_bytes(pixels, PixelPaddingValue=4000, PixelPaddingRangeLimit=4095)
    assert (decode_xray(ranged)[0] == 0).tolist() == [True, True, False, True]


def test_rgb_dicom():
    pixels = np.array([[(255, 0, 0), (90, 90, 90)]], np.uint8)
    assert decode_xray(files.dicom_bytes(pixels, bits=8)).tolist() == [[76, 90]]


def test_dicom_without_preamble_by_its_suffix():
    data = dicom(preamble=False)
    assert data[128:132] != b'DICM'
    assert decode_xray(data, 'a.DCM').tolist() == [SHOWN]


def changed(change):
    """The DICOM file after `change` of its pydicom object."""
    file = pydicom.dcmread(io.BytesIO(dicom()))
    change(file)
    out = io.BytesIO()
    file.save_as(out)
    return out.getvalue()


def test_compressed_dicom():
    data = changed(lambda file: file.compress(RLELossless))  # which pydicom decodes
    assert decode_xray(data).tolist() == [SHOWN]


def encapsulated(file, syntax):
    file.file_meta.TransferSyntaxUID = syntax
    file.PixelData = pydicom.encaps.encapsulate([b'\xff\x4f\xff\x51' + bytes(60)])
    file['PixelData'].is_undefined_length = True


@pytest.mark.parametrize(
    ('data', 'name', 'message'),
    [
        (dicom(NumberOfFrames=2, PixelData=RAMP.tobytes() * 2), '', '2 frames'),
        (dicom(PhotometricInterpretation='PALETTE COLOR'), '', 'PALETTE COLOR'),
        (dicom(PixelData=b'\0\0'), '', 'DICOM'),
        (changed(partial(encapsulated, syntax=JPEG2000Lossless)), '', 'JPEG 2000.*is damaged'),
        (changed(partial(encapsulated, syntax=JPEGLSLossless)), '', 'JPEG-LS.*gdcmconv.*pyjpegls'),
        (b'hello' * 100, 'x.dcm', 'DICOM'),
        (bytes(100), 'x.img', '100 bytes.*8388608'),
        (np.full(2048 * 2048, 100, '<u2').tobytes(), 'x.IMG', '25600.*swapped'),
    ],
    ids=['frames', 'palette', 'cut', 'stream', 'codec', 'text', 'short raw', 'swapped raw'],
)
def test_unreadable_files(data, name, message):
    with pytest.raises(UnreadableImageError, match=message):
        decode_xray(data, name)


def test_the_error_without_pydicom_says_how_to_install_it(monkeypatch, tmp_path):
    path = tmp_path / 'x.dcm'
    path.write_bytes(dicom())
    monkeypatch.setitem(sys.modules, 'pydicom', None)
    with pytest.raises(ModuleNotFoundError, match='pip install pydicom'):
        LoadXray().transform(dict(img_path=str(path)))  # an error, not a file to skip


def test_polarity(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(xray_io, 'print_log', lambda message, **_: logged.append(message))
    right, wrong = tmp_path / 'right.png', tmp_path / 'wrong.png'
    right.write_bytes(png(chest()))
    wrong.write_bytes(png(255 - chest()))
    assert (read_xray(str(wrong)) == 255 - read_xray(str(right))).all()
    assert not logged
    assert (read_xray(str(wrong), 'check') == 255 - read_xray(str(right))).all()
    assert (read_xray(str(wrong), 'mend') == read_xray(str(right), 'mend')).all()
    assert len(logged) == 2
    assert 'wrong.png' in logged[0]
    assert 'mended' in logged[1]
    with pytest.raises(ValueError, match="polarity='fix'"):
        read_xray(str(right), 'fix')


def test_looks_inverted_on_real_xrays(shared_data):
    """The error rates in the docstring of looks_inverted, on each set and its negatives."""
    wrong, total = {}, 0
    for name in ('jsrt', 'montgomery', 'shenzhen', 'unlabelled'):
        paths = sorted((shared_data / 'cxr' / name / 'images').iterdir())
        images = (decode_xray(p.read_bytes()) for p in paths)
        thumbs = [cv2.resize(v, (64, 64), interpolation=cv2.INTER_AREA) for v in images]
        total += len(paths)
        wrong[name] = sum(looks_inverted(t) for t in thumbs)
        wrong[f'{name} negatives'] = sum(not looks_inverted(255 - t) for t in thumbs)
    assert total == 1722
    assert {k: v for k, v in wrong.items() if v} == {'unlabelled': 1, 'unlabelled negatives': 1}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'a.png').write_bytes(png(chest()))
    (tmp_path / 'b.dcm').write_bytes(files.dicom_bytes(chest().astype(np.uint16) * 16))
    (tmp_path / 'c.png').write_bytes(png(255 - chest()))
    (tmp_path / 'd.png').write_bytes(png(chest())[:100])
    (tmp_path / 'e.IMG').write_bytes(b'short')
    return tmp_path


def test_load_xray(folder):
    transform = TRANSFORMS.build(dict(type='orl_mm.LoadXray', polarity='mend'))
    paths = [dict(img_path=str(folder / name)) for name in ('a.png', 'c.png', 'd.png', 'e.IMG')]
    good, corrected, *bad = map(transform, map(dict, paths))
    assert good['img'].shape == (64, 64, 3)
    assert good['img_shape'] == good['ori_shape'] == (64, 64)
    assert (corrected['img'] == good['img']).all()
    assert bad == [None, None]
    assert (transform.num_bad, transform.num_loads, transform.num_inverted) == (2, 4, 1)
    clone = copy.deepcopy(transform)
    assert (clone.num_bad, clone.num_inverted, clone.polarity) == (0, 0, 'mend')
    clone.transform(paths[1])
    assert (clone.num_inverted, transform.num_inverted) == (1, 1)


def test_folder_of_mixed_files_through_workers(folder):
    """DICOM and raw files count as images by name; workers share their counters."""
    transform = LoadXray(polarity='check')
    pipeline = [transform, lambda r: r['img'].shape[0]]
    dataset = ImageList(str(folder), extensions='xrays', pipeline=pipeline)
    assert len(dataset) == 5
    assert len(ImageList(str(folder))) == 3  # photographs only
    (folder / 'no_suffix').write_bytes((folder / 'b.dcm').read_bytes())
    assert len(ImageList(str(folder), extensions=('',))) == 6
    with pytest.raises(ValueError, match="extensions='dicom'"):
        ImageList(str(folder), extensions='dicom')
    loader = DataLoader(dataset, batch_size=1, num_workers=2)
    assert [int(x) for x in loader] == [64] * 5
    assert transform.num_bad == 2
    assert transform.num_inverted >= 1


def test_inverted_images_are_named_in_the_log(folder, monkeypatch):
    logged = []
    log = lambda message, level, **_: logged.append((message, level))  # noqa: E731
    monkeypatch.setattr('orl_mm.datasets.transforms.load_xray.print_log', log)
    transform = LoadXray(polarity='check')
    for _ in range(30):
        transform.transform(dict(img_path=str(folder / 'c.png')))
    assert transform.num_inverted == 30
    assert len(logged) == 20
    assert 'c.png' in logged[0][0]
    assert logged[0][1] == logging.ERROR
