"""Folders, lists, tables, masks, templates, json and DICOM in the forms that users have."""

import gzip
import json
import os
import re
from functools import partial

import numpy as np
import pydicom
import pytest
from PIL import Image

from orl_mm import datasets
from orl_mm.datasets.convert import find_kind
from orl_mm.datasets.label_table import read_table
from orl_mm.errors import UserError
from orl_mm.io import image as image_io
from orl_mm.io import image_list
from orl_mm.io.image import UnreadableImageError
from orl_mm.io.image_list import OUTPUTS, find_images, report_bad
from orl_mm.io.part_layouts import read_mask
from orl_mm.io.xray import decode_xray
from orl_mm.map_cache.entry import CacheError
from orl_mm.registration.cache import TemplateSpec
from orl_mm.registration.template import read_template
from orl_mm.superpixels.cache import PriorSpec
from orl_mm.superpixels.priors import read_label_file
from tests import xray_files
from tests.small import call_tool

# Serializing collects garbage, a third of a second each time.
ImageList = partial(datasets.ImageList, serialize_data=False)
ImageLabelCsv = partial(datasets.ImageLabelCsv, serialize_data=False)


@pytest.fixture
def folder(tmp_path):
    """Two images, below a sub-folder too."""
    root = tmp_path / 'images'
    for name in ('a.jpg', 'sub/b.png'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (8, 8)).save(root / name)
    return root


@pytest.fixture
def log(monkeypatch):
    """What is logged."""
    lines = []

    def keep(text, *_, **__):
        lines.append(text)

    for module in (image_list, image_io):
        monkeypatch.setattr(module, 'print_log', keep)
    monkeypatch.setattr(image_io, '_warned', set())
    return lines


# Folders


def loop_link(root):
    (root / 'c.jpg').symlink_to('c.jpg')


def dangling_link(root):
    (root / 'c.jpg').symlink_to('/nowhere/c.jpg')


def folder_like_a_file(root):
    (root / 'c.jpg').mkdir()


def pipe(root):
    os.mkfifo(root / 'c.jpg')


def name_not_utf8(root):
    Image.new('RGB', (8, 8)).save(os.fsencode(root) + b'/c\xe4.jpg', 'JPEG')


def folder_not_utf8(root):
    os.mkdir(os.fsencode(root) + b'/c\xe4')


@pytest.mark.parametrize(
    ('make', 'reason'),
    [
        (loop_link, 'c.jpg .*symbolic links'),
        (dangling_link, 'c.jpg .a dangling link'),
        (folder_like_a_file, 'c.jpg .a folder'),
        (pipe, 'c.jpg .a device'),
        (name_not_utf8, r'c\\xe4.jpg .*not UTF-8'),
        (folder_not_utf8, r'c\\xe4 .*not UTF-8'),
    ],
)
@pytest.mark.parametrize('where', ['.', 'sub'])
def test_what_cannot_be_used_is_counted_and_named(folder, log, make, reason, where):
    make(folder / where)
    data = ImageList(str(folder))
    assert len(data) == 2
    assert re.search(reason, log[-1])
    assert '1 of 3 cannot be used' in log[-1]
    with pytest.raises(UserError, match=reason + '.*max_bad=0'):
        ImageList(str(folder), max_bad=0)


def test_a_sub_folder_without_permission(folder, log, monkeypatch):
    """Root may read everything, so the refusal is simulated."""
    scandir = os.scandir

    def refuse(path):
        if path.endswith('sub'):
            raise PermissionError(13, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(image_list.os, 'scandir', refuse)
    assert len(ImageList(str(folder))) == 1
    assert 'sub (Permission denied)' in log[-1]
    monkeypatch.setattr(image_list.os, 'scandir', lambda path: refuse('sub'))
    with pytest.raises(PermissionError):
        list(find_images(str(folder)))


def test_links_to_a_parent_folder_end(folder, log):
    (folder / 'sub' / 'up').symlink_to(folder)
    assert len(ImageList(str(folder))) == 2
    assert any('1 folders reached twice' in line for line in log)


def test_the_limit_is_a_share_of_at_least_1000(log):
    bad = [('x', 'why')] * 10
    report_bad(bad, 5, 0.01, 'here')
    assert log == ['here: 10 of 15 cannot be used, first x (why); they are left out']
    with pytest.raises(UserError, match='11 of 16.*max_bad=0.01'):
        report_bad([*bad, ('y', 'z')], 5, 0.01, 'here')
    report_bad(bad * 3, 2970, 0.01, 'here')


@pytest.mark.parametrize('suffix', ['jfif', 'jpe', 'JPG', 'jpeg', 'Jfif', 'pbm', 'pnm', 'jp2'])
def test_suffixes(tmp_path, suffix):
    (tmp_path / f'a.{suffix}').touch()
    (tmp_path / f'b.{suffix}x').touch()
    assert [os.path.basename(p) for p in find_images(str(tmp_path))] == [f'a.{suffix}']


def test_outputs_below_the_images_are_left_out(folder, log):
    cache = folder / 'masks'
    build = f'cache_superpixels --folder {folder} --out {cache} --method grid --workers 1'
    monkeypatch = pytest.MonkeyPatch()
    call_tool(monkeypatch, build)
    monkeypatch.undo()
    assert (cache / 'a.jpg.png').is_file()
    assert len(ImageList(str(folder))) == 2
    assert f'left out: {cache} holds cached superpixels' in log
    assert {f'{PriorSpec.name}.json', f'{TemplateSpec.name}.json', 'last_checkpoint'} == set(
        OUTPUTS
    )


def test_a_cache_among_its_images_is_refused(folder, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        call_tool(monkeypatch, f'cache_superpixels --folder {folder} --out {folder} --workers 1')
    assert stop.value.code == 2
    assert 'choose another folder for --out' in capsys.readouterr().err
    assert issubclass(CacheError, UserError)


# Lists


@pytest.mark.parametrize(
    'data',
    [
        b'a.jpg\nsub/b.png\n',
        b'a.jpg\r\nsub/b.png\r\n',
        b'a.jpg\rsub/b.png',
        b'\xef\xbb\xbfa.jpg\nsub/b.png\n',
        'a.jpg\nsub/b.png\n'.encode('utf-16'),
        '\ufeffa.jpg\nsub/b.png\n'.encode('utf-16-be'),
        gzip.compress(b'a.jpg\nsub/b.png\n'),
        gzip.compress('a.jpg\nsub/b.png\n'.encode('utf-16')),
        b'\n  a.jpg  \n\n\tsub/b.png\n\n',
        b'a.jpg 3\nsub/b.png 5\n',
        b'a.jpg\t3\nsub/b.png\t-1\n',
        b'a.jpg 3\nsub/b.png\n',
        b'./a.jpg\nsub/../sub/b.png\n',
        b'a.jpg\nsub\\b.png\n',
        b'.\\a.jpg 1\nsub\\b.png 0\n',
    ],
)
def test_lists(folder, tmp_path, data):
    path = tmp_path / 'list.txt'
    path.write_bytes(data)
    found = ImageList(str(folder), list_file=str(path))
    paths = [os.path.normpath(found.get_data_info(i)['img_path']) for i in range(len(found))]
    assert paths == [f'{folder}/a.jpg', f'{folder}/sub/b.png']


def test_a_name_that_ends_in_a_number_is_a_name(folder, tmp_path):
    (folder / 'a.jpg 3').touch()
    path = tmp_path / 'list.txt'
    path.write_text('a.jpg 3\n')
    found = ImageList(str(folder), list_file=str(path))
    assert found.get_data_info(0)['img_path'] == f'{folder}/a.jpg 3'


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        ('bär.jpg\n'.encode('latin1'), 'list.txt is not UTF-8 .byte 0xe4 in line 1.*iconv'),
        ('a\n\xff.jpg'.encode('latin1'), 'byte 0xff in line 2'),
        ('a.jpg\n'.encode('utf-16-le'), 'list.txt has zero bytes'),
        ('a.jpg\n'.encode('utf-32'), 'list.txt has zero bytes'),
        (b'PK\3\4rest', 'list.txt is a zip archive'),
        (gzip.compress(b'a.jpg\n' * 99)[:-9], 'list.txt cannot be unpacked'),
        (b'\x1f\x8bnothing', 'list.txt cannot be unpacked'),
        (b'', 'has no lines'),
        (b'\xef\xbb\xbf\n', 'has no lines'),
        (b'a.jpg\nsub\n', 'sub'),
        (b'a.jpg\nc.jpg 1\n', '1 of the 2 images of .*list.txt do not exist: .*c.jpg 1'),
        (b'a.jpg;1\n', 'do not exist: .*a.jpg;1'),
    ],
)
def test_lists_that_cannot_be_read_are_named(folder, tmp_path, data, message):
    path = tmp_path / 'list.txt'
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        ImageList(str(folder), list_file=str(path))


@pytest.mark.parametrize('line', ['../out.jpg', '{outside}/out.jpg', 'sub/../../out.jpg'])
def test_confine(folder, tmp_path, line):
    """Lists and tables may lead out of the root, unless that is refused."""
    Image.new('RGB', (8, 8)).save(tmp_path / 'out.jpg')
    line = line.format(outside=tmp_path)
    listing, table = tmp_path / 'list.txt', tmp_path / 'table.csv'
    listing.write_text(f'a.jpg\n{line}\n')
    table.write_text(f'image,y\na.jpg,1\n{line},0\n')
    for build in (
        lambda **options: ImageList(str(folder), list_file=str(listing), **options),
        lambda **options: ImageLabelCsv(str(table), ['y'], data_root=str(folder), **options),
    ):
        assert len(build()) == 2
        with pytest.raises(ValueError, match='out.jpg, which is not below .*images'):
            build(confine=True)
    listing.write_text('a.jpg\nsub/../a.jpg\n')
    assert len(ImageList(str(folder), list_file=str(listing), confine=True)) == 2


def test_class_lists(folder, tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_bytes(b'\xef\xbb\xbfsub\r\n')
    assert len(ImageList(str(folder), classes_file=str(path))) == 1
    listing = tmp_path / 'list.txt'
    listing.write_text('.\n./sub/b.png\n')
    data = ImageList(str(folder), list_file=str(listing), classes_file=str(path))
    assert len(data) == 1


# Tables

ROWS = 'image,y\na.jpg,1\nsub/b.png,0\n'


@pytest.mark.parametrize(
    'data',
    [
        ROWS.encode(),
        ROWS.replace('\n', '\r\n').encode(),
        b'\xef\xbb\xbf' + ROWS.encode(),
        ROWS.encode('utf-16'),
        gzip.compress(ROWS.encode()),
        ROWS.replace(',', ';').encode(),
        ROWS.replace(',', '\t').encode(),
        b'\n' + ROWS.encode(),
        ROWS.replace('a.jpg', '"a.jpg"').encode(),
        b',image,y\n0,a.jpg,1\n1,sub/b.png,0\n',
        b'Unnamed: 0,image,y\n0,a.jpg,1\n1,sub/b.png,0\n',
        b'y,image\n1,a.jpg\n0,sub/b.png\n',
        b'image,y,note\na.jpg,1,"one, two"\nsub/b.png,0,\n',
        b' image , y\na.jpg,1\nsub/b.png,0\n',
        b'image,y\na.jpg,1.0\nsub/b.png,0.00\n',
        b'image,y\na.jpg,1\n\nsub/b.png,0\n\n',
        b'image,y\na.jpg,1\na.jpg,1\nsub/b.png,0\n',
        b'image,y\nsub\\b.png,0\na.jpg,1\n',
    ],
)
def test_tables(folder, tmp_path, data):
    path = tmp_path / 'labels.csv'
    path.write_bytes(data)
    found = ImageLabelCsv(str(path), ['y'], data_root=str(folder))
    scores = {
        os.path.basename(s['img_path']): float(s['gt_score'][0])
        for s in map(found.get_data_info, range(len(found)))
    }
    assert len(found) == 2
    assert scores == {'a.jpg': 1.0, 'b.png': 0.0}


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'labels.csv has no rows'),
        (b'image,y\n', 'labels.csv has no rows'),
        (b'image,y\na.jpg\n', 'row 1 below the header: 1 cells under 2'),
        (b'image,y\na.jpg,1,2\n', 'row 1 below the header: 3 cells'),
        (b'image,y,y\na.jpg,1,2\n', "the columns .'y'. twice"),
        (b'img,y\na.jpg,1\n', "lacks the columns 'image' .is it 'img'"),
        (b'image,z\na.jpg,1\n', "lacks the columns 'y'"),
        (b'image,y\na.jpg,yes\n', "row 1, column 'y': 'yes' is not a label"),
        (b'image,y\na.jpg,2\n', "'2' is not a label"),
        (b'image,y\na.jpg,-1\n', 'uncertain'),
        (b'image,y\nc.jpg,1\n', '1 of the 1 images checked do not exist'),
        (b'image,y\n,1\n', 'do not exist'),
        (
            b'image,y\na.jpg,1\na.jpg,0\n',
            "rows 1 and 2 .*contradict each other on a.jpg: .*'1', '0'",
        ),
        ('image,y\nbär.jpg,1\n'.encode('latin1'), 'labels.csv is not UTF-8 .byte 0xe4 in line 2'),
        (ROWS.encode('utf-16-le'), 'labels.csv has zero bytes'),
        (b'PK\3\4xl/workbook.xml', 'labels.csv is a zip archive, perhaps of Excel'),
        (gzip.compress(ROWS.encode())[:20], 'labels.csv cannot be unpacked'),
        (b'image,y\n"a.jpg,1\nsub/b.png,0\n', 'row 1 below the header'),
        (b'image,y\n' + b'x' * 200_000 + b',1\n', 'labels.csv is no csv file: field larger'),
        (b'<html>404</html>', 'labels.csv has no rows'),
    ],
)
def test_tables_that_cannot_be_used_are_named(folder, tmp_path, data, message):
    path = tmp_path / 'labels.csv'
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        ImageLabelCsv(str(path), ['y'], data_root=str(folder))


def test_missing_rows_are_counted(folder, tmp_path):
    path = tmp_path / 'labels.csv'
    path.write_text(ROWS + 'gone.jpg,1\n')
    assert len(ImageLabelCsv(str(path), ['y'], data_root=str(folder), missing='skip')) == 2


def test_an_index_column_leaves_the_kind_of_a_download(tmp_path):
    (tmp_path / 'train.csv').write_text(',Path,Edema\n0,a/view1_frontal.jpg,1\n')
    assert list(read_table(str(tmp_path / 'train.csv'))) == ['Path', 'Edema']
    assert find_kind(str(tmp_path)) == 'chexpert'
    (tmp_path / 'train.csv').write_bytes('Name\nMüller\n'.encode('latin1'))
    assert find_kind(str(tmp_path)) == 'folder'


# Masks


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return str(path)


@pytest.mark.parametrize('top', [1, 255, 256, 300, 1000, 65535])
@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_masks_of_16_bits_are_not_clipped(tmp_path, top, suffix):
    stored = np.array([[0, top // 3, top]], np.uint16)
    assert read_mask(save(tmp_path / f'a.{suffix}', stored)).tolist() == [[False, False, True]]


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'RGB', 'RGBA', 'LA', 'I', 'F'])
def test_masks_of_every_mode(tmp_path, mode):
    shown = Image.fromarray(np.array([[0, 255, 0]], np.uint8)).convert(mode)
    path = tmp_path / ('a.tif' if mode in 'IF' else 'a.png')
    shown.save(path)
    assert read_mask(str(path)).tolist() == [[False, True, False]]


@pytest.mark.parametrize(
    'data', [b'', b'<html>', b'\x89PNG\r\n\x1a\n', b'\0' * 100, b'GIF89a', b'%!PS-Adobe-3.0 EPSF\n']
)
def test_masks_that_cannot_be_read_are_named(tmp_path, data):
    path = tmp_path / 'mask.png'
    path.write_bytes(data)
    for read in (read_mask, lambda path: read_label_file(path, 4, None)):
        with pytest.raises(UnreadableImageError, match='cannot be read: .*mask.png'):
            read(str(path))


def test_label_files(tmp_path):
    labels = np.array([[0, 300], [70, 300]])
    path = save(tmp_path / 'a.png', labels.astype(np.uint16))
    assert read_label_file(path, 2, None).tolist() == [[0, 2], [1, 2]]
    path = save(tmp_path / 'b.png', np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(UserError, match='3 channels of uint8'):
        read_label_file(path, 2, None)
    path = save(tmp_path / 'c.tif', np.array([[0, 0.5], [1, 1]], np.float32))
    with pytest.raises(UserError, match='1 channels of float32'):
        read_label_file(path, 2, None)
    path = save(tmp_path / 'd.png', np.zeros((3, 5), np.uint8))
    with pytest.raises(UserError, match='3 x 5 .*nor the image'):
        read_label_file(path, 2, (7, 7))


# Templates

SQUARE = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'holds no polygons'),
        ('{', 'holds no polygons'),
        ('[]', 'holds no polygons'),
        ('{}', 'holds no polygons'),
        ('{"parts": []}', 'names no part'),
        ('{"parts": {}}', 'names no part'),
        ('{"parts": 3}', 'holds no polygons'),
        ('{"parts": {"a": []}}', r"template of \['a'\] has no area"),
        ('{"parts": {"a": 3}}', 'a.json'),
        ('{"parts": {"a": [[[0, 0], [1, 1]]]}}', 'at least 3 corners'),
        ('{"parts": {"a": [[[0, 0], [1, 1], [2, 0]]]}}', r'within \[0, 1\]'),
        ('{"parts": {"a": [[[0, 0], [1, 1], [-0.1, 0]]]}}', r'within \[0, 1\]'),
        ('{"parts": {"a": [[[0, 0], [1, 1], [NaN, 0]]]}}', r'within \[0, 1\]'),
        ('{"parts": {"a": [[[10, 20], [90, 20], [90, 80]]]}}', 'shares of the'),
        ('{"parts": {"a": [[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]]}}', 'has no area'),
        ('{"parts": {"a": [["x", "y", "z"]]}}', 'list of corners'),
        (f'{{"parts": {{"a": [{SQUARE}], "a": [{SQUARE}]}}}}', r"keys \['a'\] .*more than once"),
        (f'{{"parts": {{"a": [{SQUARE}], "b": []}}}}', r"template of \['b'\] has no area"),
        (f'{{"parts": {{}}, "parts": {{"a": [{SQUARE}]}}}}', r"keys \['parts'\]"),
    ],
)
def test_polygons_that_cannot_be_used_are_named(tmp_path, text, message):
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_template(path, 16)
    assert 'a.json' in str(error.value)


def test_polygons_with_a_byte_order_mark(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(dict(parts=dict(a=[SQUARE]))), encoding='utf-8-sig')
    assert read_template(path, 16).parts == ('a',)


ABOUT = np.array(json.dumps(dict(parts=['a'], provenance={})))
MAP = np.full((1, 4, 4), 0.5, np.float32)


@pytest.mark.parametrize(
    'arrays',
    [
        dict(),
        dict(maps=MAP),
        dict(about=ABOUT),
        dict(maps=MAP, about=np.array('no json')),
        dict(maps=MAP, about=np.array('{}')),
        dict(maps=MAP[0], about=ABOUT),
        dict(maps=MAP[:0], about=ABOUT),
        dict(maps=np.tile(MAP, (2, 1, 1)), about=ABOUT),
        dict(maps=MAP * 255, about=ABOUT),
        dict(maps=-MAP, about=ABOUT),
        dict(maps=MAP * np.nan, about=ABOUT),
        dict(maps=MAP * 0, about=ABOUT),
        dict(maps=np.array([['x']]), about=ABOUT),
        dict(maps=np.array([{}], dtype=object), about=ABOUT),
        b'',
        b'PK\3\4',
        b'\x93NUMPY',
        b'<html>',
    ],
)
def test_npz_templates_that_cannot_be_used_are_named(tmp_path, arrays):
    path = tmp_path / 'a.npz'
    if isinstance(arrays, bytes):
        path.write_bytes(arrays)
    else:
        np.savez(path, **arrays)
    with pytest.raises(ValueError, match='a.npz holds no template'):
        read_template(path)


# DICOM

RAMP = np.array([[0, 1000, 2000, 4095]], np.uint16)
SHOWN = [[0, 62, 125, 255]]


def dicom(pixels=RAMP, **fields):
    return xray_files.dicom_bytes(pixels, **fields)


@pytest.mark.parametrize(
    'fields',
    [
        dict(WindowWidth=0, WindowCenter=50),
        dict(WindowWidth=-5, WindowCenter=50),
        dict(WindowWidth=None, WindowCenter=50),
        dict(WindowWidth=400, WindowCenter=None),
        dict(WindowWidth=400),
        dict(WindowCenter=400),
        dict(RescaleSlope=None, RescaleIntercept=0),
        dict(RescaleSlope=1, RescaleIntercept=None),
        dict(RescaleSlope=0, RescaleIntercept=0),
        dict(RescaleSlope=2),
        dict(VOILUTSequence=pydicom.Sequence([])),
        dict(VOILUTSequence=pydicom.Sequence([pydicom.Dataset()])),
        dict(ModalityLUTSequence=pydicom.Sequence([])),
        dict(PixelPaddingValue=None),
    ],
    ids=str,
)
def test_unusable_optional_elements_count_as_absent(fields, log):
    assert decode_xray(dicom(**fields), 'a.dcm').tolist() == SHOWN
    assert decode_xray(dicom(**fields), 'b.dcm').tolist() == SHOWN
    assert len(log) == 1
    assert 'unusable' in log[0]
    assert log[0].endswith('first a.dcm')


def test_inverse_presentation_is_a_warning(log):
    assert decode_xray(dicom(PresentationLUTShape='INVERSE'), 'a.dcm').tolist() == SHOWN
    assert log == [
        'DICOM in MONOCHROME2 with PresentationLUTShape INVERSE: is it a negative?; first a.dcm'
    ]
    assert decode_xray(dicom(PresentationLUTShape='IDENTITY')).tolist() == SHOWN
    assert len(log) == 1


@pytest.mark.parametrize('window', ['bits', 'range'])
@pytest.mark.parametrize(
    ('dtype', 'padding'),
    [
        (np.uint16, dict(PixelPaddingValue=65535)),
        (np.uint16, dict(PixelPaddingValue=60000, PixelPaddingRangeLimit=65535)),
        (np.int16, dict(PixelPaddingValue=-2000)),
        (np.int16, dict(PixelPaddingValue=-32768, PixelPaddingRangeLimit=-1000)),
    ],
)
def test_padding_does_not_stretch_the_scale(dtype, padding, window):
    inside = np.linspace(0, 4000, 400).astype(dtype)
    padded = np.concatenate([inside, [padding['PixelPaddingValue']] * 40]).astype(dtype)[None]
    alone = decode_xray(dicom(inside[None], bits=16), '', window)
    found = decode_xray(dicom(padded, bits=16, **padding), '', window)
    if window == 'range':  # percentiles count pixels, so the padding's take part a little
        assert np.abs(found[0, :400].astype(int) - alone[0]).max() <= 1
    else:
        assert (found[0, :400] == alone[0]).all()
    assert (found[0, 400:] == 0).all()
