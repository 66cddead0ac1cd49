"""The check of ImageNet's layout: problems and notes."""

import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from orl_mm.datasets.image_list import ImageList
from orl_mm.datasets.layouts import LAYOUTS, check_layout
from orl_mm.datasets.layouts import imagenet as layout
from orl_mm.io.image_list import read_class_list
from tests.layout_reports import only_problem

CLASSES = ['n1', 'n2', 'n3', 'n4']


def write_classes(folder, classes, each):
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(each):
            Image.new('RGB', (8, 8), (i, 0, 0)).save(folder / name / f'{name}_{i}.JPEG')
    return folder


@pytest.fixture
def whole(tmp_path, monkeypatch):
    """A complete ImageNet of 4 classes of 4 to 6 images, 20 in all, and 2 of each class in val."""
    monkeypatch.setattr(layout, 'LIMITS', dict(train=(4, 6), val=(2, 2)))
    for name, images in (('imagenet', dict(train=20, val=8)), ('imagenet100', dict(train=10))):
        monkeypatch.setitem(LAYOUTS, name, replace(LAYOUTS[name], images=images))
    lists = dict(imagenet=CLASSES, imagenet100=CLASSES[:2])
    monkeypatch.setattr(
        layout,
        'read_class_list',
        lambda name: lists[name] if name in lists else read_class_list(name),
    )
    write_classes(tmp_path / 'imagenet' / 'train', CLASSES, 5)
    write_classes(tmp_path / 'imagenet' / 'val', CLASSES, 2)
    return tmp_path / 'imagenet'


def problem(root, name='imagenet', **options):
    return only_problem(check_layout(name, str(root), **options))


def is_ok(root, name='imagenet', **options):
    return check_layout(name, str(root), **options).ok


def clear(folder):
    for path in folder.iterdir():
        path.unlink()
    return folder


def picture(path):
    Image.new('RGB', (8, 8)).save(path)


@pytest.mark.parametrize('labels', [False, True])
@pytest.mark.parametrize('every_file', [False, True])
def test_complete_set(whole, labels, every_file):
    report = check_layout('imagenet', str(whole), labels=labels, every_file=every_file)
    counts = {'train images': 20, 'train classes': 4}
    counts['images of train opened'] = 20 if every_file else 4
    if labels:
        counts |= {
            'val images': 8,
            'val classes': 4,
            'images of val opened': 8 if every_file else 4,
        }
    assert (report.problems, report.notes, report.counts) == ([], [], counts)


def test_the_real_numbers():
    """ILSVRC 2012, and the authors' list of 100 classes."""
    assert LAYOUTS['imagenet'].images == dict(train=1281167, val=50000)
    assert LAYOUTS['imagenet100'].images == dict(train=126689)
    known = read_class_list('imagenet')
    assert len(known) == 1000
    assert known == sorted(set(known))
    assert (known[0], known[281], known[-1]) == ('n01440764', 'n02123045', 'n15075141')
    assert set(read_class_list('imagenet100')) < set(known)


def test_real_sample(shared_data):
    root = str(shared_data / 'natural' / 'imagenet_sample')
    for name, images in (('imagenet', 1000), ('imagenet100', 100)):
        report = check_layout(name, root)
        assert report.problems == []
        assert report.counts['train images'] == report.counts['train classes'] == images
        assert f'a sample, or other images: {images:,} in' in report.notes[-1]
    assert 'has no folder val' in problem(root, labels=True)


def test_train_folder_itself_may_be_named(whole):
    report = check_layout('imagenet', str(whole / 'train'))
    assert (report.ok, report.counts['train images']) == (True, 20)
    assert 'no folder train' in report.notes[0]
    assert is_ok(whole / 'train', 'imagenet100')


def test_any_folder_of_images_may_pretrain(tmp_path):
    """Flat, nested deeper than classes, or with other names, as ImageList reads it."""
    root = tmp_path / 'a'
    for i, place in enumerate(('', 'photos', 'deep/er')):
        (root / place).mkdir(parents=True)
        picture(root / place / f'{i}.png')
    report = check_layout('imagenet', str(root))
    assert report.ok
    assert report.counts['train images'] == 3 == len(ImageList(str(root)))
    found = problem(root, labels=True)
    assert 'has no folder train' in found
    assert 'projects/data/README.md' in found
    shutil.rmtree(root / 'photos')
    shutil.rmtree(root / 'deep')
    report = check_layout('imagenet', str(root))
    assert report.ok
    assert any('no class folders' in note for note in report.notes)


def test_no_image_at_all(tmp_path):
    assert 'is not a folder' in problem(tmp_path / 'none')
    (tmp_path / 'train').mkdir()
    assert f'no image below {tmp_path}/train' in problem(tmp_path)


def _remove(root, *names):
    for name in names:
        (root / name).unlink()


def _move_to_n1(root, *names):
    for name in names:
        (root / 'train' / name).rename(root / 'train' / 'n1' / Path(name).name)


def _other_folder(root):
    (root / 'train/n0_backup').mkdir()
    (root / 'train/n1/n1_0.JPEG').rename(root / 'train/n0_backup/a.JPEG')


def _loose_image(root):
    (root / 'train/n1/n1_0.JPEG').rename(root / 'train/a.JPEG')


# How the complete set is spoilt, its problems, and those with labels=True where they differ.
FEWER = '15 images, not the 20'
VAL_FEWER = 'val has 7 images, not the 8'
FAULTS = {
    'an empty class': (
        lambda root: clear(root / 'train/n2'),
        ['1 class folders .*n2; extract', FEWER],
    ),
    'a missing class': (
        lambda root: clear(root / 'train/n4').rmdir(),
        ['1 of the 4 classes .*n4', FEWER],
    ),
    'an interrupted extraction': (
        lambda root: _remove(root, 'train/n3/n3_0.JPEG', 'train/n3/n3_1.JPEG'),
        [r'1 classes of .* n3 \(3\)', '18 images, not the 20'],
    ),
    'one image too many': (
        lambda root: picture(root / 'train/n1/copy.JPEG'),
        ['21 images, not the 20'],
    ),
    'images in the wrong class': (
        lambda root: _move_to_n1(root, 'n4/n4_3.JPEG', 'n3/n3_4.JPEG'),
        [r'1 classes of .*4 to 6 images: n1 \(7\)'],
    ),
    'a folder that is not a class': (
        _other_folder,
        ['1 folders of .*n0_backup; labels .*move them away', r'1 classes of .*n0_backup \(1\)'],
    ),
    'an archive': (lambda root: (root / 'train/n5.tar').touch(), ['n5.tar.*extract each']),
    'a loose image': (_loose_image, [], ['1 images lie directly in']),
    'an image missing in val': (
        lambda root: _remove(root, 'val/n2/n2_1.JPEG'),
        [],
        [r'val do not have 2 to 2 images: n2 \(1\)', VAL_FEWER],
    ),
    'an empty val': (
        lambda root: [clear(root / 'val' / name).rmdir() for name in CLASSES],
        [],
        ['no image below .*val'],
    ),
    'no val': (lambda root: (root / 'val').rename(root / 'other'), [], ['has no folder val']),
    'a cut image': (  # the middle one, which is opened
        lambda root: (root / 'train/n3/n3_2.JPEG').write_bytes(b'\xff\xd8'),
        [r'n3_2.JPEG \(.*look at all with --all'],
    ),
    'an empty file': (
        lambda root: (root / 'train/n3/n3_2.JPEG').write_bytes(b''),
        [r'1 of 4 images of train opened .*n3_2.JPEG \(an empty file\)'],
    ),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_faults(whole, fault):
    spoil, *expected = FAULTS[fault]
    spoil(whole)
    for labels, wanted in ((False, expected[0]), (True, expected[-1])):
        found = check_layout('imagenet', str(whole), labels=labels).problems
        assert len(found) == len(wanted), found
        for text, pattern in zip(found, wanted, strict=True):
            assert re.search(pattern, text)


def test_every_image_is_opened_if_asked(whole):
    first = whole / 'train' / 'n3' / 'n3_0.JPEG'
    first.write_bytes(b'')
    assert is_ok(whole)
    found = problem(whole, every_file=True)
    assert f'1 of 20 images of train opened are faulty: {first} (an empty file)' in found


def test_less_than_half_is_a_sample(whole):
    for name in CLASSES:
        _remove(whole, *(f'train/{name}/{name}_{i}.JPEG' for i in range(2, 5)))
    report = check_layout('imagenet', str(whole))
    assert report.ok
    assert 'a sample, or other images: 8 in' in report.notes[0]
    assert is_ok(whole, labels=True)
    clear(whole / 'train' / 'n2').rmdir()
    assert is_ok(whole)
    assert 'n2' in problem(whole, labels=True)


def test_only_archives_of_the_listed_classes_matter(whole):
    (whole / 'train' / 'n1' / 'readme.txt').touch()
    (whole / 'train' / '.hidden.tar').touch()
    assert is_ok(whole)
    (whole / 'train' / 'n5.tar').touch()
    assert is_ok(whole, 'imagenet100')
    (whole / 'train' / 'n2.tar').touch()
    assert 'n2.tar' in problem(whole, 'imagenet100')


def write_meta(whole, split, text):
    (whole / 'meta').mkdir(exist_ok=True)
    (whole / 'meta' / f'{split}.txt').write_text(text)


def test_meta_gives_labels_to_loose_images(whole):
    _loose_image(whole)
    write_meta(whole, 'train', 'a.JPEG 3\nn2/n2_1.JPEG 1\n')
    report = check_layout('imagenet', str(whole), labels=True)
    assert report.ok
    assert 'names 2 of the 20 images' in report.notes[0]


def test_flat_val_needs_its_labels(whole):
    for i, path in enumerate(sorted((whole / 'val').rglob('*.JPEG'))):
        path.rename(whole / 'val' / f'{i}.JPEG')
    for name in CLASSES:
        (whole / 'val' / name).rmdir()
    found = problem(whole, labels=True)
    assert '8 images lie directly in' in found
    assert 'meta/val.txt' in found
    lines = ''.join(f'{i}.JPEG {i // 2}\n' for i in range(8))
    write_meta(whole, 'val', lines)
    report = check_layout('imagenet', str(whole), labels=True)
    assert (report.ok, report.counts['val images'], report.notes) == (True, 8, [])
    for text, *parts in (
        (f'{lines}gone.JPEG 0\n', '1 of the 9 lines', 'gone.JPEG'),
        ('1.JPEG 0\n8.JPEG\n', '1 of the 2 lines', '8.JPEG'),
        ('1.JPEG 0\n0.JPEG n1\n', '1 of the 2 lines', '0.JPEG n1'),
        ('1.JPEG 0\n0.JPEG 1000\n', '1 of the 2 lines', '0.JPEG 1000'),
        ('1.JPEG 0\n0.JPEG -1\n', '1 of the 2 lines', '0.JPEG -1'),
        ('', 'it is empty'),
    ):
        write_meta(whole, 'val', text)
        found = problem(whole, labels=True)
        assert all(part in found for part in parts), found


def test_meta_is_read_as_mmpretrain_does(whole):
    """mmpretrain uses meta/val.txt whenever it exists: lines of a flat val do not fit classes."""
    from mmpretrain.datasets import ImageNet

    write_meta(whole, 'val', 'n1_0.JPEG 0\n')
    assert 'n1_0.JPEG' in problem(whole, labels=True)
    data = ImageNet(str(whole), split='val', metainfo=dict(classes=CLASSES), pipeline=[])
    assert [x['img_path'] for x in data.load_data_list()] == [f'{whole}/val/n1_0.JPEG']
    write_meta(whole, 'val', 'n1/n1_0.JPEG 0\n')
    report = check_layout('imagenet', str(whole), labels=True)
    assert report.ok
    assert 'names 1 of the 8 images' in report.notes[0]


@pytest.mark.parametrize(
    ('text', 'messages'),
    [
        ('n1\nn9\nn3\n', ['1 of the 3 classes', 'mine.txt', '/train: n9', 'correct the list']),
        ('n8\nn9\n', ['2 of the 2 classes']),
        ('n1\nn2\nn1\n', ['mine.txt names n1 more than once']),
        ('\n', ['has no lines']),
        (None, ['mine.txt']),
    ],
)
def test_faulty_class_lists(whole, tmp_path, text, messages):
    names = tmp_path / 'mine.txt'
    if text is not None:
        names.write_text(text)
    for root in (whole, whole / 'train'):
        found = problem(root, 'imagenet100', classes=str(names))
        assert all(message in found for message in messages), found
    with pytest.raises(ValueError, match=messages[0]):  # likewise at the start of a run
        ImageList(str(whole / 'train'), classes_file=str(names))


def test_imagenet100(whole):
    report = check_layout('imagenet100', str(whole))
    assert report.ok
    assert report.counts == {'train images': 10, 'train classes': 2, 'images of train opened': 2}
    _remove(whole, 'train/n4/n4_0.JPEG')  # not one of its classes
    assert is_ok(whole, 'imagenet100')
    _remove(whole, 'train/n2/n2_0.JPEG')
    assert '9 images, not the 10' in problem(whole, 'imagenet100')
    clear(whole / 'train' / 'n2')
    assert re.search('1 class folders .*n2', check_layout('imagenet100', str(whole)).problems[0])


def test_unknown_layout():
    with pytest.raises(ValueError, match="'imagnet'; choose one of imagenet, "):
        check_layout('imagnet', '.')


def test_large_folders_are_listed_without_a_stat_of_each_file(tmp_path, monkeypatch):
    for c in range(50):
        (tmp_path / 'train' / f'c{c}').mkdir(parents=True)
        for i in range(200):
            (tmp_path / 'train' / f'c{c}' / f'{i}.JPEG').touch()
    asked, real = [], os.stat
    monkeypatch.setattr(os, 'stat', lambda *a, **k: asked.append(a) or real(*a, **k))
    monkeypatch.setattr(layout.ImageFolder, 'open_images', lambda self: None)
    start = time.perf_counter()
    assert check_layout('imagenet', str(tmp_path)).counts['train images'] == 10000
    assert time.perf_counter() - start < 2
    assert len(asked) < 20


def test_the_page_turns_kaggles_csv_into_labels(tmp_path, monkeypatch):
    """Runs the code of projects/data/README.md."""
    root = Path(__file__).resolve().parents[2]
    (code,) = re.findall(
        r'```python\n(.*?)```', (root / 'projects' / 'data' / 'README.md').read_text(), re.S
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'orl_mm').symlink_to(root / 'orl_mm')
    (tmp_path / 'data' / 'imagenet').mkdir(parents=True)
    (tmp_path / 'LOC_val_solution.csv').write_text(
        'ImageId,PredictionString\nILSVRC2012_val_00000002,n02123045 85 1 499 272 \n'
        'ILSVRC2012_val_00000001,n15075141 1 2 3 4 n15075141 5 6 7 8 \n'
    )
    exec(compile(code, 'README.md', 'exec'), {})
    assert (tmp_path / 'data' / 'imagenet' / 'meta' / 'val.txt').read_text() == (
        'ILSVRC2012_val_00000002.JPEG 281\nILSVRC2012_val_00000001.JPEG 999\n'
    )
