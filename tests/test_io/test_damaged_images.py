"""Every kind of damage to every kind of image file is an UnreadableImageError with a reason."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from orl_mm.datasets.transforms import LoadImage
from orl_mm.io import image as image_io
from orl_mm.io.image import UnreadableImageError, decode_image, read_stored
from orl_mm.io.xray import decode_xray
from tests import xray_files

strict = pytest.mark.skipif(image_io.simplejpeg is None, reason='simplejpeg is not installed')


def photo(height=160, width=200, seed=0):
    """Colored noise on a smooth picture, so that every byte of a JPEG counts."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 5, 3), np.uint8)).resize((width, height))
    noise = rng.integers(-20, 20, (height, width, 3))
    return (np.asarray(small) + noise).clip(0, 255).astype(np.uint8)


def encode(kind, mode='RGB', **options):
    out = io.BytesIO()
    Image.fromarray(photo()).convert(mode).save(out, kind, **options)
    return out.getvalue()


JPEGS = dict(
    baseline=encode('JPEG', quality=95),
    progressive=encode('JPEG', quality=95, progressive=True),
    full_chroma=encode('JPEG', quality=95, subsampling=0),
    grey=encode('JPEG', mode='L', quality=95),
    restarts=encode('JPEG', quality=95, restart_marker_rows=1),
    cmyk=encode('JPEG', mode='CMYK', quality=95),
)


def scan_of(data):
    """Where the entropy-coded bytes begin."""
    pos = data.index(b'\xff\xda')
    return pos + 2 + struct.unpack_from('>H', data, pos + 2)[0]


def damaged(data, kind, share):
    """A JPEG file with damage at a share of its scan."""
    begin = scan_of(data)
    at = begin + int((len(data) - begin - 700) * share)
    if kind == 'hole':
        return data[:at] + bytes(600) + data[at + 600 :]
    if kind == 'ones':
        return data[:at] + b'\xff' * 600 + data[at + 600 :]
    if kind == 'missing middle':
        return data[:at] + data[at + 600 :]
    if kind == 'end marker appended':
        return data[:at] + b'\xff\xd9'
    if kind == 'cut':
        return data[:at]
    if kind == 'text':
        return data[:at] + (b'<p>503 Service unavailable</p>' * 20) + data[at + 600 :]
    altered = bytearray(data)
    altered[at : at + 400 : 40] = b'\x5a' * 10
    return bytes(altered)


KINDS = ('hole', 'ones', 'missing middle', 'end marker appended', 'cut', 'text', 'altered bytes')


# JPEG has no checksum: here the decoder finds as many blocks as it expects.
UNNOTICED = [('progressive', 'hole', 0.8)]


@strict
@pytest.mark.parametrize('share', [0.1, 0.45, 0.8])
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('form', JPEGS)
def test_damaged_jpeg(form, kind, share):
    if (form, kind, share) in UNNOTICED:
        pytest.xfail('a legal stream')
    decode_image(JPEGS[form])
    with pytest.raises(UnreadableImageError, match='JPEG|ValueError'):
        decode_image(damaged(JPEGS[form], kind, share))


@pytest.mark.parametrize('form', JPEGS)
def test_pixels_equal_those_of_opencv(form):
    """The pixels that earlier versions trained on."""
    if form == 'cmyk':  # OpenCV ignores its color profile; it always went through Pillow
        expected = np.asarray(Image.open(io.BytesIO(JPEGS[form])).convert('RGB'))[..., ::-1]
    else:
        expected = cv2.imdecode(np.frombuffer(JPEGS[form], np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decode_image(JPEGS[form]), expected)


def test_bytes_after_the_end_warn_and_do_not_skip(monkeypatch):
    monkeypatch.setattr(image_io, '_warned', set())
    messages = []
    monkeypatch.setattr(image_io, 'print_log', lambda text, **_: messages.append(text))
    data = JPEGS['baseline']
    for tail in (b'\0' * 100, b'made by a camera', JPEGS['grey'] + b'x'):
        assert np.array_equal(decode_image(data + tail, path='a.jpg'), decode_image(data))
    assert messages == ['bytes after the end of a JPEG are ignored; first a.jpg']


@pytest.mark.parametrize('change', [(b'JFIF\0\x01', b'JFIF\0\x03'), (b'JFIF\0', b'JFIX\0')])
def test_odd_headers_are_no_damage(change):
    data = JPEGS['baseline'].replace(*change, 1)
    assert data != JPEGS['baseline']
    assert np.array_equal(decode_image(data), decode_image(JPEGS['baseline']))


def test_without_simplejpeg_opencv_decodes_and_the_loss_is_logged(monkeypatch):
    messages = []
    expected = decode_image(JPEGS['baseline'])
    monkeypatch.setattr(image_io, 'simplejpeg', None)
    monkeypatch.setattr(image_io, '_warned', set())
    monkeypatch.setattr(image_io, 'print_log', lambda text, **_: messages.append(text))
    assert np.array_equal(decode_image(JPEGS['baseline']), expected)
    assert 'simplejpeg' in messages[0]
    with pytest.raises(UnreadableImageError, match='truncated'):
        decode_image(JPEGS['baseline'][:-500])


def png16():
    return cv2.imencode('.png', photo().astype(np.uint16) * 250)[1].tobytes()


OTHERS = dict(
    png=encode('PNG'),
    png_palette=encode('PNG', mode='P'),
    png_alpha=encode('PNG', mode='RGBA'),
    png16=png16(),
    gif=encode('GIF'),
    bmp=encode('BMP'),
    tiff=encode('TIFF'),
    tiff_deflate=encode('TIFF', compression='tiff_deflate'),
    tiff_lzw=encode('TIFF', compression='tiff_lzw'),
    webp=encode('WEBP'),
    webp_lossless=encode('WEBP', lossless=True),
    ppm=encode('PPM'),
    jp2=encode('JPEG2000'),
)


@pytest.mark.parametrize('share', [0.02, 0.5, 0.95])
@pytest.mark.parametrize('form', OTHERS)
def test_cut_files_of_other_formats(form, share):
    data = OTHERS[form]
    assert decode_image(data).shape == (160, 200, 3)
    with pytest.raises(UnreadableImageError):
        decode_image(data[: int(len(data) * share)])


@pytest.mark.parametrize('form', ['png', 'png_palette', 'png_alpha', 'png16'])
def test_a_flipped_bit_in_formats_with_checksums(form):
    data = bytearray(OTHERS[form])
    data[len(data) // 2] ^= 16
    with pytest.raises(UnreadableImageError):
        decode_image(bytes(data))


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'\n',
        b'<html><body>404</body></html>',
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b'%PDF-1.7\n%%EOF',
        b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n',
        b'PK\3\4' + bytes(60),
        b'\x7fELF' + bytes(60),
        b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n',
        b'\0' * 4096,
        b'\xff' * 4096,
        b'\xff\xd8\xff\xd9',
        b'\x93NUMPY' + bytes(80),
        b'\x80\x04cos\nsystem\n.',
        b'RIFF\0\0\0\0WEBP',
        b'GIF89a',
        b'BM' + bytes(52),
        b'II*\0' + bytes(8),
    ],
)
def test_other_files_by_the_name_of_an_image(data, tmp_path):
    """The message has what the file begins with, or what is wrong, and no object's address."""
    with pytest.raises(UnreadableImageError) as error:
        decode_image(data)
    assert str(error.value)
    assert ' at 0x' not in str(error.value)
    path = tmp_path / 'a.jpg'
    path.write_bytes(data)
    loader = LoadImage()
    assert loader.transform(dict(img_path=str(path))) is None
    assert loader.num_bad == 1
    with pytest.raises(UnreadableImageError, match='a.jpg'):
        read_stored(str(path))


def claims(form, side=20_000):
    """A small file whose header says ``side`` x ``side`` pixels."""
    four, two = struct.pack('<I', side), struct.pack('<H', side)
    if form == 'jpeg':
        at = JPEGS['baseline'].index(b'\xff\xc0') + 5
        size = struct.pack('>HH', side, side)
        return JPEGS['baseline'][:at] + size + JPEGS['baseline'][at + 4 :]
    if form in ('png', 'png16'):
        data = OTHERS[form]
        head = b'IHDR' + struct.pack('>II', side, side) + data[24:29]
        return data[:12] + head + struct.pack('>I', zlib.crc32(head)) + data[33:]
    if form == 'gif':
        return OTHERS[form][:6] + two + two + OTHERS[form][10:]
    if form == 'bmp':
        return OTHERS[form][:18] + four + four + OTHERS[form][26:]
    return b'P6\n%d %d\n255\n' % (side, side) + bytes(100)


@pytest.mark.parametrize('form', ['jpeg', 'png', 'png16', 'gif', 'bmp', 'ppm'])
def test_pixel_limit_by_the_header(form, monkeypatch):
    def allocate(*args, **kwargs):
        raise AssertionError('decoded')

    monkeypatch.setattr(Image.Image, 'load', allocate)
    monkeypatch.setattr(image_io, '_decode_jpeg', allocate)
    monkeypatch.setattr(cv2, 'imdecode', allocate)
    with pytest.raises(UnreadableImageError, match=r'20000 x 20000.*max_pixels=178956970'):
        decode_image(claims(form))


def test_pixel_limit_is_an_option(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(OTHERS['png'])
    sample = dict(img_path=str(path))
    assert LoadImage(max_pixels=160 * 200).transform(dict(sample)) is not None
    assert LoadImage(max_pixels=160 * 200 - 1).transform(dict(sample)) is None
    with pytest.raises(ValueError, match='max_pixels=0'):
        LoadImage(max_pixels=0)
    # Above Pillow's own limit, too, which stays what it was.
    limit = Image.MAX_IMAGE_PIXELS
    assert image_io.open_image(claims('png'), 10**9).size == (20_000, 20_000)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_dicom_of_too_many_pixels():
    data = xray_files.dicom_bytes(np.zeros((2, 2), np.uint16), Rows=20_000, Columns=20_000)
    with pytest.raises(UnreadableImageError, match='20000 x 20000'):
        decode_xray(data)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_exif_turns_into_the_displayed_frame(orientation, kind):
    pil = Image.fromarray(photo(16, 40))
    exif = pil.getexif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    pil.save(out, kind, exif=exif)
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(out.getvalue())))
    found = decode_image(out.getvalue(), apply_exif=True)
    assert np.array_equal(found, np.asarray(shown)[..., ::-1])
    assert image_io.orientation(out.getvalue()) == orientation
