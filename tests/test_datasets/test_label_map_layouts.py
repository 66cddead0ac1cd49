"""The checks of VOC's and Cityscapes' layouts: each problem names the file and the fix."""

import re
import time

import numpy as np
import pytest
from PIL import Image

from orl_mm.datasets.layouts import check_layout
from tests.layout_reports import only_problem
from tests.segmentation_files import save_labels, write_cityscapes, write_voc

LISTS = 'ImageSets/Segmentation'


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path / 'VOC2012', train=3, aug=2, val=2)


@pytest.fixture
def cityscapes(tmp_path):
    return write_cityscapes(tmp_path / 'cityscapes', train=2, val=1)


def problem(name, root, **options):
    return only_problem(check_layout(name, str(root), **options))


@pytest.mark.parametrize('every_file', [False, True])
@pytest.mark.parametrize(
    ('name', 'counts', 'notes'),
    [
        ('voc', (3, 2, 2), ['train has 3 of 1,464 images', 'aug has 2 of 9,118']),
        ('cityscapes', (2, 1), ['train has 2 of 2,975', 'val has 1 of 500']),
    ],
)
def test_complete_set(request, name, counts, notes, every_file):
    root = request.getfixturevalue(name)
    report = check_layout(name, str(root), every_file=every_file)
    assert report.ok, report.problems
    splits = ('train', 'aug', 'val') if name == 'voc' else ('train', 'val')
    assert tuple(report.counts[f'{split} images'] for split in splits) == counts
    (note,) = report.notes
    assert all(text in note for text in notes)


def test_absent_folder(tmp_path):
    for name, archive in (
        ('voc', 'VOCtrainval_11-May-2012.tar'),
        ('cityscapes', 'leftImg8bit_trainvaltest.zip'),
    ):
        found = problem(name, tmp_path / 'none')
        assert f'{tmp_path}/none is not a folder' in found
        assert archive in found


def _write(path, marks):
    save_labels(path, np.asarray(marks, np.uint8))


def part_of(ann_file, masks='SegmentationClass'):
    prefix = dict(img_path='JPEGImages', seg_map_path=masks)
    return dict(ann_file=ann_file, data_prefix=prefix)


# A list, its new text (None deletes it), and the message.
LIST_FAULTS = [
    ('aug', None, r'no list \S+/aug\.txt; convert SBD .*README\.md.*fcn_r50_train\.py'),
    ('val', '\n', r'list \S+/val\.txt is empty; extract VOCtrainval'),
    ('val', 'val_0\n\nval_1\n', r'\S+/val\.txt has 1 empty lines'),
    ('aug', 'JPEGImages/aug_0.jpg\n', r'1 lines of \S+/aug\.txt .*bare names.*JPEGImages/aug_0'),
    ('aug', '/a/aug_0.jpg /b/aug_0.png\n', r'1 lines of \S+/aug\.txt are not bare names'),
    ('val', 'train_0\nval_1\n', r'1 .* in \S+/val\.txt and \S+/train\.txt: train_0; extract VOC'),
    ('train', 'train_0\ntrain_0\n', r'1 images are in \S+/train\.txt, twice: train_0'),
]
MASK_FAULTS = [  # of SegmentationClass/val_1.png
    ([[0, 20, 255, 77]] * 45, r'1 of 2 .*\S+/val_1\.png \(label 77, which is not among 0 to 20'),
    (np.full((45, 60), 21), r'val_1\.png \(label 21,'),
    (np.zeros((45, 61)), r'val_1\.png \(61 x 45, its image 60 x 45\)'),
    (np.zeros((60, 45)), r'val_1\.png \(45 x 60, its image 60 x 45\)'),
]
SPOIL = dict(
    delete=lambda path: path.unlink(),
    move=lambda path: path.rename(f'{path}_elsewhere'),
    cut=lambda path: path.write_bytes(path.read_bytes()[:-40]),
    text=lambda path: path.write_bytes(b'<html>404'),
    color=lambda path: Image.new('RGB', (60, 45)).save(path),
    label=lambda path: Image.new('L', (96, 48), 26).save(path),
)
TRAIN_IDS = 'gtFine/train/bonn/bonn_000001_000019_gtFine_labelTrainIds.png'
FAULTS = [
    ('voc', 'delete', 'JPEGImages/train_1.jpg', r'1 of 3 images of train .*train_1\.jpg; extract'),
    (
        'voc',
        'delete',
        'SegmentationClassAug/aug_1.png',
        r'1 of 2 label maps of aug are missing: \S+Aug/aug_1\.png; convert SBD',
    ),
    ('voc', 'move', 'SegmentationClassAug', r'is empty; convert'),
    ('voc', 'move', 'JPEGImages', r'JPEGImages does not exist or is empty'),
    ('voc', 'color', 'SegmentationClass/val_0.png', r'val_0\.png \(.* 8-bit .*image, not RGB'),
    ('voc', 'cut', 'SegmentationClass/train_2.png', r'train_2\.png \(\w+'),
    ('voc', 'text', 'JPEGImages/train_0.jpg', r'train_0\.png \(its image: cannot identify'),
    (
        'cityscapes',
        'delete',
        TRAIN_IDS,
        r'1 of 2 label maps of train are missing: \S+TrainIds\.png; extract gtFine_trainvaltest.zip'
        r' and make them from \*_gtFine_polygons\.json as projects/transfer/README\.md shows',
    ),
    ('cityscapes', 'move', 'gtFine/val', r'val/bonn .* empty; extract gt'),
    ('cityscapes', 'move', 'leftImg8bit/train', r'no image \*_leftImg8bit\.png below .*; extract'),
    ('cityscapes', 'label', TRAIN_IDS, r'label 26, which is not among 0 to 18 and 255\)'),
]


@pytest.mark.parametrize(('name', 'action', 'path', 'message'), FAULTS)
def test_faulty_files(request, name, action, path, message):
    root = request.getfixturevalue(name)
    SPOIL[action](root / path)
    found = problem(name, root)
    assert re.search(message, found)
    assert path.split('/')[-1].split('.')[0] in found


@pytest.mark.parametrize(('split', 'text', 'message'), LIST_FAULTS)
def test_faulty_lists_of_voc(voc, split, text, message):
    path = voc / LISTS / f'{split}.txt'
    path.unlink() if text is None else path.write_text(text)
    assert re.search(message, problem('voc', voc))


@pytest.mark.parametrize(('marks', 'message'), MASK_FAULTS)
def test_faulty_masks_of_voc(voc, marks, message):
    _write(voc / 'SegmentationClass/val_1.png', marks)
    assert re.search(message, problem('voc', voc))


def test_cut_jpeg_is_found_by_opening_all(voc):
    SPOIL['cut'](voc / 'JPEGImages' / 'aug_1.jpg')
    assert check_layout('voc', str(voc)).ok  # its header is whole
    assert 'aug_1.png (its image: ' in problem('voc', voc, every_file=True)


def test_a_few_are_opened_unless_all_are(tmp_path):
    """32 of 40 masks are opened."""
    root = write_voc(tmp_path, size=(8, 8), val=40)
    part = part_of(f'{LISTS}/val.txt')
    assert check_layout('voc', str(root), parts=[part]).counts['label maps of val opened'] == 32
    for i in range(40):
        _write(root / 'SegmentationClass' / f'val_{i}.png', np.full((8, 8), 100 + i))
    found = problem('voc', root, parts=[part])
    assert re.search(r'32 of 32 label maps.*val_0\.png \(label 100.*and 29 more.*--all', found)
    found = problem('voc', root, parts=[part], every_file=True)
    assert '40 of 40' in found
    assert '--all' not in found


def test_parts_name_what_is_read(voc):
    """Lists and folders as a config names them; others are not checked."""
    (voc / LISTS / 'aug.txt').unlink()
    paths = [str(voc / LISTS / f'{split}.txt') for split in ('train', 'val', 'val')]  # absolute
    assert check_layout('voc', str(voc), parts=[part_of(path) for path in paths]).ok


def test_real_samples(shared_data):
    """The shipped samples lack one list and one folder."""
    natural = shared_data / 'natural'
    found = problem('voc', natural / 'VOCdevkit/VOC2012', every_file=True)
    assert 'no list' in found
    assert 'aug.txt' in found
    found = problem('cityscapes', natural / 'cityscapes', every_file=True)
    assert 'leftImg8bit/train' in found


@pytest.mark.slow
def test_all_of_voc_takes_seconds(tmp_path):
    """With the 9,118 masks of VOC and SBD."""
    root = write_voc(tmp_path, size=(500, 375), train=1)
    for folder, name in (('JPEGImages', 'train_0.jpg'), ('SegmentationClassAug', 'train_0.png')):
        (root / folder).mkdir(exist_ok=True)
        source = root / (folder if folder == 'JPEGImages' else 'SegmentationClass') / name
        for i in range(9118):
            (root / folder / name.replace('train_0', f'aug_{i}')).symlink_to(source)
    (root / LISTS / 'aug.txt').write_text(''.join(f'aug_{i}\n' for i in range(9118)))
    (root / LISTS / 'val.txt').write_text('')
    parts = [part_of(f'{LISTS}/aug.txt', 'SegmentationClassAug')]
    for every_file, seconds in ((False, 2), (True, 240)):
        start = time.perf_counter()
        report = check_layout('voc', str(root), parts=parts, every_file=every_file)
        assert report.ok
        assert time.perf_counter() - start < seconds
    assert report.counts['label maps of aug opened'] == 9118
