"""Image files of each kind against values known by construction or Pillow's."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from orl_mm.io.image import UnreadableImageError, decode_image


def photo(height=64, width=48, seed=0):
    """A smooth color picture, which JPEG keeps."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height)))


def encode(img, kind, **options):
    out = io.BytesIO()
    pil = img if isinstance(img, Image.Image) else Image.fromarray(img)
    pil.save(out, kind, **options)
    return out.getvalue()


def pillow_bgr(data):
    rgb = Image.open(io.BytesIO(data)).convert('RGB')
    return np.asarray(rgb)[..., ::-1]


@pytest.mark.parametrize(
    'options',
    [dict(quality=90), dict(quality=75, progressive=True), dict(quality=95, subsampling=0)],
)
def test_jpeg_equals_pillow(options):
    data = encode(photo(), 'JPEG', **options)
    out = decode_image(data)
    assert (out.dtype, out.flags.c_contiguous) == (np.uint8, True)
    assert np.array_equal(out, pillow_bgr(data))


def test_real_jpegs_equal_pillow(shared_data):
    folder = shared_data / 'natural' / 'imagenet_sample' / 'train'
    for path in sorted(folder.glob('*/*'))[::100]:
        data = path.read_bytes()
        assert np.array_equal(decode_image(data), pillow_bgr(data)), path


@pytest.mark.parametrize('share', [0.02, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize('progressive', [False, True])
def test_truncated_jpeg(share, progressive):
    data = encode(photo(200, 300), 'JPEG', progressive=progressive)
    with pytest.raises(UnreadableImageError):
        decode_image(data[: int(len(data) * share)])


def test_truncated_jpeg_with_whole_thumbnail():
    """The end marker of an embedded thumbnail is not taken for the image's."""
    thumbnail = encode(photo(16, 16), 'JPEG')
    data = encode(photo(200, 300), 'JPEG', exif=b'Exif\0\0' + thumbnail)
    assert thumbnail in data
    decode_image(data)
    half = len(data) // 2
    for cut in (data[: half + len(thumbnail) // 2], data[:half] + b'\0' * half):
        with pytest.raises(UnreadableImageError, match='truncated'):
            decode_image(cut)


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', None),
        (b'\xff\xd8\xff', None),
        (b'no image at all', None),
        (b'\x89PNG\r\n\x1a\n', None),
        (b'\0' * 5000, None),
        (encode(Image.fromarray(np.ones((2, 2), np.float32)), 'TIFF'), '32-bit'),
    ],
)
def test_not_an_8_or_16_bit_image(data, message):
    with pytest.raises(UnreadableImageError, match=message):
        decode_image(data)


def test_cmyk_jpeg():
    data = encode(Image.fromarray(photo()).convert('CMYK'), 'JPEG', quality=95)
    assert np.array_equal(decode_image(data), pillow_bgr(data))
    assert np.abs(decode_image(data)[..., ::-1].astype(int) - photo()).mean() < 3


def test_grey_jpeg_and_png():
    grey = photo()[..., 0]
    for kind in ('JPEG', 'PNG'):
        out = decode_image(encode(grey, kind))
        assert out.shape == (64, 48, 3)
        assert (out == out[..., :1]).all()
    assert np.array_equal(out[..., 0], grey)


def test_16_bit_grey_png_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 64 * 48).round().reshape(64, 48)
    for channels in (1, 3):
        img = np.repeat(ramp[..., None], channels, 2).astype(np.uint16)
        data = cv2.imencode('.png', img)[1].tobytes()
        out = decode_image(data)
        assert out.shape == (64, 48, 3)
        assert np.array_equal(out[..., 1], (ramp / 257).round())


def png16(array):
    return cv2.imencode('.png', array.astype(np.uint16))[1].tobytes()


def test_16_bit_colour_keeps_bgr():
    img = np.zeros((2, 2, 3))
    img[..., 2] = 65535  # OpenCV writes BGR: red
    assert (decode_image(png16(img)) == [0, 0, 255]).all()


def test_16_bit_alpha_png():
    img = np.zeros((3, 3, 4))
    img[1:, :, 3] = 65535
    out = decode_image(png16(img))
    assert (out[0] == 255).all()
    assert (out[1:] == 0).all()


def test_16_bit_tiff():
    ramp = np.array([[0, 257, 65535]], np.uint16)
    out = decode_image(encode(Image.fromarray(ramp), 'TIFF'))
    assert out[0, :, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize(
    ('background', 'expected'), [(255, [255, 255, 255]), (0, [0, 0, 0]), (None, [30, 20, 10])]
)
def test_alpha_png(background, expected):
    rgba = np.full((4, 4, 4), 255, np.uint8)
    rgba[..., :3] = [10, 20, 30]
    rgba[0, 0, 3] = 0
    out = decode_image(encode(rgba, 'PNG'), background)
    assert out[0, 0].tolist() == expected
    assert out[1, 1].tolist() == [30, 20, 10]
    half = rgba.copy()
    half[..., 3] = 51  # a fifth
    if background is not None:
        out = decode_image(encode(half, 'PNG'), background)
        mixed = [0.2 * c + 0.8 * background for c in (30, 20, 10)]
        assert out[2, 2].tolist() == [round(m) for m in mixed]


@pytest.mark.parametrize('mode', ['LA', 'P', '1'])
def test_other_png_modes(mode):
    pil = Image.fromarray(photo()).convert(mode)
    data = encode(pil, 'PNG')
    assert np.array_equal(decode_image(data, None), pillow_bgr(data))


def test_palette_with_transparency():
    pil = Image.new('P', (2, 1))
    pil.putpalette([200, 0, 0, 0, 200, 0])
    pil.putdata([0, 1])
    out = decode_image(encode(pil, 'PNG', transparency=0))
    assert out[0].tolist() == [[255, 255, 255], [0, 200, 0]]


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('share', [0.01, 0.5, 0.98])
def test_truncated_png_and_png_with_a_flipped_bit(bits, share):
    img = photo(200, 300)
    data = png16(img * 200.0) if bits == 16 else encode(img, 'PNG')
    decode_image(data)
    with pytest.raises(UnreadableImageError):
        decode_image(data[: int(len(data) * share)])
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 4
    with pytest.raises(UnreadableImageError):
        decode_image(bytes(flipped))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'WEBP', 'GIF'])
def test_one_pixel(kind):
    out = decode_image(encode(np.full((1, 1, 3), 128, np.uint8), kind))
    assert out.shape == (1, 1, 3)
    assert np.abs(out.astype(int) - 128).max() <= 2


def test_exif_orientation_only_when_asked():
    pil = Image.fromarray(photo(20, 40))
    exif = pil.getexif()
    exif[0x0112] = 6  # turn by 90 degrees
    for kind in ('JPEG', 'PNG'):
        data = encode(pil, kind, exif=exif)
        assert decode_image(data).shape == (20, 40, 3)
        assert decode_image(data, apply_exif=True).shape == (40, 20, 3)
