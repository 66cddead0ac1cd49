"""The checks of VOC and Cityscapes: each problem names the file and the fix."""

import re
import time

import numpy as np
import pytest
from PIL import Image

from orl_mm.datasets.layouts import check_layout
from tests.segmentation_files import save_labels, write_cityscapes, write_voc

LISTS = 'ImageSets/Segmentation'


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path / 'VOC2012', train=3, aug=2, val=2)


@pytest.fixture
def cityscapes(tmp_path):
    return write_cityscapes(tmp_path / 'cityscapes', train=2, val=1)


def problem(name, root, **options):
    """The one problem of a folder."""
    report = check_layout(name, str(root), **options)
    (found,) = report.problems
    assert not report.ok
    assert '\n' not in found
    return found


@pytest.mark.parametrize('every_file', [False, True])
def test_whole_voc(voc, every_file):
    report = check_layout('voc', str(voc), every_file=every_file)
    assert report.ok, report.problems
    assert {key: report.counts[key] for key in ('train images', 'aug images', 'val images')} == {
        'train images': 3,
        'aug images': 2,
        'val images': 2,
    }
    (note,) = report.notes
    assert 'train has 3 of 1,464 images' in note
    assert 'aug has 2 of 9,118' in note


@pytest.mark.parametrize('every_file', [False, True])
def test_whole_cityscapes(cityscapes, every_file):
    report = check_layout('cityscapes', str(cityscapes), every_file=every_file)
    assert report.ok, report.problems
    assert report.counts['train images'] == 2
    assert report.counts['val images'] == 1
    (note,) = report.notes
    assert 'train has 2 of 2,975' in note
    assert 'val has 1 of 500' in note


def test_absent_folder(tmp_path):
    for name, archive in (
        ('voc', 'VOCtrainval_11-May-2012.tar'),
        ('cityscapes', 'leftImg8bit_trainvaltest.zip'),
    ):
        said = problem(name, tmp_path / 'none')
        assert f'{tmp_path}/none is not a folder' in said
        assert archive in said


def _write(path, marks):
    save_labels(path, np.asarray(marks, np.uint8))


# What is done to a VOC2012, and what is said of it.
FAULTS = {
    'no list': (
        lambda root: (root / LISTS / 'aug.txt').unlink(),
        r'no list \S+/aug\.txt; convert SBD .*README\.md.*fcn_r50_train\.py',
    ),
    'an empty list': (
        lambda root: (root / LISTS / 'val.txt').write_text('\n'),
        r'list \S+/val\.txt is empty; extract VOCtrainval',
    ),
    'an empty line': (
        lambda root: (root / LISTS / 'val.txt').write_text('val_0\n\nval_1\n'),
        r'\S+/val\.txt has 1 empty lines',
    ),
    'a path for a name': (
        lambda root: (root / LISTS / 'aug.txt').write_text('JPEGImages/aug_0.jpg\n'),
        r'1 lines of \S+/aug\.txt are not bare names.*JPEGImages/aug_0\.jpg',
    ),
    'two paths': (
        lambda root: (root / LISTS / 'aug.txt').write_text('/a/aug_0.jpg /b/aug_0.png\n'),
        r'1 lines of \S+/aug\.txt are not bare names',
    ),
    'no image': (
        lambda root: (root / 'JPEGImages/train_1.jpg').unlink(),
        r'1 of 3 images of train are missing: \S+/train_1\.jpg; extract VOC',
    ),
    'no mask': (
        lambda root: (root / 'SegmentationClassAug/aug_1.png').unlink(),
        r'1 of 2 label maps of aug are missing: \S+Aug/aug_1\.png; convert SBD',
    ),
    'no folder of masks': (
        lambda root: (root / 'SegmentationClassAug').rename(root / 'elsewhere'),
        r'\S+/SegmentationClassAug does not exist or is empty, and 2 label maps of aug .*; convert',
    ),
    'an unknown label': (
        lambda root: _write(root / 'SegmentationClass/val_1.png', [[0, 20, 255, 77]] * 45),
        r'1 of 2 .*val opened are faulty: \S+/val_1\.png \(label 77, which is not among 0 to 20',
    ),
    'the first label that is not a class': (
        lambda root: _write(root / 'SegmentationClass/val_1.png', np.full((45, 60), 21)),
        r'val_1\.png \(label 21,',
    ),
    'no folder of images': (
        lambda root: (root / 'JPEGImages').rename(root / 'elsewhere'),
        r'\S+/JPEGImages does not exist or is empty, and 3 images of train',
    ),
    'another size': (
        lambda root: _write(root / 'SegmentationClass/val_1.png', np.zeros((45, 61))),
        r'val_1\.png \(61 x 45, its image 60 x 45\)',
    ),
    'turned': (
        lambda root: _write(root / 'SegmentationClass/val_1.png', np.zeros((60, 45))),
        r'val_1\.png \(45 x 60, its image 60 x 45\)',
    ),
    'colours': (
        lambda root: Image.new('RGB', (60, 45)).save(root / 'SegmentationClass/val_0.png'),
        r'val_0\.png \(a label map must be an 8-bit palette or grey image, not RGB',
    ),
    'a cut mask': (
        lambda root: _cut(root / 'SegmentationClass/train_2.png'),
        r'train_2\.png \(\w+',
    ),
    'no picture': (
        lambda root: (root / 'JPEGImages/train_0.jpg').write_bytes(b'<html>404'),
        r'train_0\.png \(its image: cannot identify',
    ),
    'scored and trained': (
        lambda root: (root / LISTS / 'val.txt').write_text('val_0\ntrain_0\nval_1\n'),
        r'1 images are in \S+/val\.txt and \S+/train\.txt: train_0; extract VOC',
    ),
    'trained twice': (
        lambda root: (root / LISTS / 'train.txt').write_text('train_0\ntrain_0\n'),
        r'1 images are in \S+/train\.txt, twice: train_0',
    ),
}


def _cut(path):
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize('name', FAULTS)
def test_faults_of_voc(voc, name):
    spoil, said = FAULTS[name]
    spoil(voc)
    assert re.search(said, problem('voc', voc))


def test_cut_jpeg_is_found_by_opening_all(voc):
    _cut(voc / 'JPEGImages' / 'aug_1.jpg')
    assert check_layout('voc', str(voc)).ok  # its header is whole
    assert 'aug_1.png (its image: ' in problem('voc', voc, every_file=True)


def test_a_few_are_opened_unless_all_are(tmp_path):
    """40 masks, of which every second bad one: 32 are opened, evenly."""
    root = write_voc(tmp_path, size=(8, 8), val=40)
    part = dict(
        ann_file=f'{LISTS}/val.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    )
    assert check_layout('voc', str(root), parts=[part]).counts['label maps of val opened'] == 32
    for i in range(40):
        _write(root / 'SegmentationClass' / f'val_{i}.png', np.full((8, 8), 100 + i))
    said = problem('voc', root, parts=[part])
    assert re.search(r'32 of 32 label maps.*val_0\.png \(label 100.*and 29 more.*--all', said)
    said = problem('voc', root, parts=[part], every_file=True)
    assert '40 of 40' in said
    assert '--all' not in said


def test_parts_name_what_is_read(voc):
    """Other lists and folders, as a config names them; what it does not name is no concern."""
    (voc / LISTS / 'aug.txt').unlink()
    parts = [
        dict(
            ann_file=str(voc / LISTS / f'{split}.txt'),  # an absolute path, too
            data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        )
        for split in ('train', 'val', 'val')
    ]
    assert check_layout('voc', str(voc), parts=parts).ok


CITY = 'bonn_000001_000019'
CITY_FAULTS = {
    'no train ids': (
        lambda root: (root / f'gtFine/train/bonn/{CITY}_gtFine_labelTrainIds.png').unlink(),
        rf'1 of 2 label maps of train are missing: \S+{CITY}_gtFine_labelTrainIds\.png; '
        r'extract gtFine_trainvaltest.zip and make them from \*_gtFine_polygons\.json as '
        r'projects/transfer/README\.md shows',
    ),
    'no labels at all': (
        lambda root: (root / 'gtFine/val').rename(root / 'other'),
        r'gtFine/val/bonn does not exist or is empty, .* label maps of val .*; extract gtFine',
    ),
    'an empty split': (
        lambda root: (root / 'leftImg8bit/train').rename(root / 'other'),
        r'no image \*_leftImg8bit\.png below \S+/leftImg8bit/train; extract',
    ),
    'label ids for train ids': (
        lambda root: Image.new('L', (96, 48), 26).save(
            root / f'gtFine/train/bonn/{CITY}_gtFine_labelTrainIds.png'
        ),
        rf'{CITY}_gtFine_labelTrainIds\.png \(label 26, which is not among 0 to 18 and 255\)',
    ),
}


@pytest.mark.parametrize('name', CITY_FAULTS)
def test_faults_of_cityscapes(cityscapes, name):
    spoil, said = CITY_FAULTS[name]
    spoil(cityscapes)
    assert re.search(said, problem('cityscapes', cityscapes))


def test_real_samples(shared_data):
    """The shipped samples are whole but for what they leave out."""
    natural = shared_data / 'natural'
    said = problem('voc', natural / 'VOCdevkit/VOC2012', every_file=True)
    assert 'no list' in said
    assert 'aug.txt' in said
    said = problem('cityscapes', natural / 'cityscapes', every_file=True)
    assert 'leftImg8bit/train' in said


@pytest.mark.slow
def test_all_of_voc_takes_seconds(tmp_path):
    """As many masks as VOC and SBD have: the check before a run looks at folders only once."""
    root = write_voc(tmp_path, size=(500, 375), train=1)
    for folder, name in (('JPEGImages', 'train_0.jpg'), ('SegmentationClassAug', 'train_0.png')):
        (root / folder).mkdir(exist_ok=True)
        source = root / (folder if folder == 'JPEGImages' else 'SegmentationClass') / name
        for i in range(9118):
            (root / folder / name.replace('train_0', f'aug_{i}')).symlink_to(source)
    (root / LISTS / 'aug.txt').write_text(''.join(f'aug_{i}\n' for i in range(9118)))
    (root / LISTS / 'val.txt').write_text('')
    parts = [
        dict(
            ann_file=f'{LISTS}/aug.txt',
            data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
        )
    ]
    start = time.perf_counter()
    report = check_layout('voc', str(root), parts=parts)
    assert report.ok
    assert time.perf_counter() - start < 2
    start = time.perf_counter()
    report = check_layout('voc', str(root), parts=parts, every_file=True)
    assert report.ok
    assert report.counts['label maps of aug opened'] == 9118
    assert time.perf_counter() - start < 240
