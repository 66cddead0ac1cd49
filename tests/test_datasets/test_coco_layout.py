"""The check of COCO: each problem names the file and the fix."""

import re
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from orl_mm.datasets.layouts import LAYOUTS, check_layout, checker
from orl_mm.datasets.layouts.coco import coco_categories
from tests.coco_files import json_of, read_json, write_coco, write_json
from tests.layout_reports import only_problem


@pytest.fixture
def coco(tmp_path):
    return write_coco(tmp_path / 'coco')


def problem(root, **options):
    return only_problem(check_layout('coco', str(root), **options))


def change(root, split, **entries):
    write_json(root, split, {**read_json(root, split), **entries})


@pytest.mark.parametrize('every_file', [False, True])
def test_a_sample_is_noted_and_may_run(coco, every_file):
    report = check_layout('coco', str(coco), every_file=every_file)
    assert (report.ok, report.problems) == (True, [])
    kinds = ('images', 'annotations', 'images opened')
    splits = dict(train2017=4, val2017=2)
    assert report.counts == {f'{s} {kind}': n for s, n in splits.items() for kind in kinds}
    (note,) = report.notes
    assert 'train2017 has 4 of 118,287 images, val2017 has 2 of 5,000' in note


def test_a_complete_set_has_no_note(coco, monkeypatch):
    whole = replace(LAYOUTS['coco'], images=dict(train2017=4, val2017=2))
    monkeypatch.setitem(LAYOUTS, 'coco', whole)
    assert check_layout('coco', str(coco)).notes == []


def test_categories_are_those_of_mmdet():
    """Ids as in the json of shared data, names as mmdet's CocoDataset asks for them."""
    pytest.importorskip('mmcv.ops', reason='mmdet needs the compiled ops of mmcv')
    from mmdet.datasets import CocoDataset

    assert tuple(coco_categories().values()) == CocoDataset.METAINFO['classes']
    ids = list(coco_categories())
    assert len(ids) == 80
    assert ids == sorted(ids)
    assert (ids[0], ids[11], ids[-1]) == (1, 13, 90)


def test_real_sample(shared_data):
    report = check_layout('coco', str(shared_data / 'natural' / 'coco'), every_file=True)
    assert report.problems == []
    assert report.counts['train2017 images opened'] == report.counts['val2017 images'] == 40


def test_missing_image_is_named(coco):
    (coco / 'train2017' / '000000000003.jpg').unlink()
    fix = 'extract train2017.zip of https://cocodataset.org/#download again'
    message = f'1 of 4 images .*instances_train2017.json.*000000000003.jpg.*{fix}'
    assert re.search(message, problem(coco))


def test_many_missing_images_are_counted(coco):
    for i in (101, 102):
        (coco / 'val2017' / f'{i:012}.jpg').unlink()
    (coco / 'val2017' / 'other.jpg').touch()  # not an empty folder
    assert '2 of 2 images' in problem(coco)
    images = [dict(id=i, file_name=f'{i}.jpg') for i in range(9)]
    annotations = [dict(a, image_id=0) for a in read_json(coco, 'val2017')['annotations']]
    change(coco, 'val2017', images=images, annotations=annotations)
    message = r'9 of 9 images .*/0.jpg, \S+/1.jpg, \S+/2.jpg and 6 more'
    assert re.search(message, problem(coco))


def test_missing_folder_of_images_is_one_problem(coco):
    shutil.rmtree(coco / 'val2017')
    found = problem(coco)
    assert f'{coco}/val2017 does not exist' in found
    assert 'val2017.zip' in found


def test_images_in_sub_folders_are_found(coco):
    (coco / 'train2017' / 'a').mkdir()
    (coco / 'train2017' / '000000000001.jpg').rename(coco / 'train2017' / 'a' / '1.jpg')
    content = read_json(coco, 'train2017')
    content['images'][0]['file_name'] = 'a/1.jpg'
    write_json(coco, 'train2017', content)
    assert check_layout('coco', str(coco)).ok


@pytest.mark.parametrize('entries', [dict(images=[], annotations=[]), dict(annotations=[])])
def test_empty_split(coco, entries):
    change(coco, 'val2017', **entries)
    assert re.search('instances_val2017.json.* 0 annotations.*extract', problem(coco))


def test_missing_and_cut_json(coco):
    path = json_of(coco, 'train2017')
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    assert f'{path} is not valid JSON' in problem(coco)
    path.write_bytes(b'\x1f\x8b\xff\xfe')  # a gz that was renamed
    assert f'{path} is not valid JSON' in problem(coco)
    path.unlink()
    assert f'there is no file {path}' in problem(coco)


@pytest.mark.parametrize('content', [[], dict(images=[], licenses=[]), None])
def test_json_of_something_else(coco, content):
    write_json(coco, 'val2017', content)
    found = problem(coco)
    assert 'no list of' in found
    assert 'not a file of instances' in found


def test_missing_root(tmp_path):
    assert f'{tmp_path}/none is not a folder' in problem(tmp_path / 'none')


def test_other_categories(coco):
    categories = read_json(coco, 'train2017')['categories']
    categories[11]['id'] = 12  # numbered through: the stop sign is 13 in COCO
    change(coco, 'train2017', categories=categories)
    found = problem(coco)
    assert "1 of COCO's 80" in found
    assert "13: 'stop sign'" in found
    categories[11] = dict(id=13, name='halt')
    change(coco, 'train2017', categories=categories)
    assert "13: 'stop sign'" in problem(coco)


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('image_id', 77, '1 annotations of an image that is not listed'),
        ('category_id', 12, '1 annotations of a category that is not listed'),
        ('segmentation', [], '1 annotations without a box or a mask'),
        ('bbox', None, '1 annotations without a box or a mask'),
        ('id', 2, '1 annotations that share their id'),
    ],
)
def test_faulty_annotation(coco, key, value, message):
    content = read_json(coco, 'train2017')
    content['annotations'][0][key] = value
    write_json(coco, 'train2017', content)
    assert message in problem(coco)


def test_unreadable_and_resized_images(coco):
    path = coco / 'train2017' / '000000000002.jpg'
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert '000000000002.jpg (' in problem(coco)
    assert 'look at all with --all' in problem(coco)
    path.write_bytes(b'')
    assert '000000000002.jpg (' in problem(coco)
    Image.new('RGB', (48, 64)).save(path)
    assert '000000000002.jpg (48 x 64, not 64 x 48)' in problem(coco)


def test_few_are_opened_unless_all_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(checker, 'SPOTS', 3)
    coco = write_coco(tmp_path / 'coco', train=9, size=(16, 16), box=(2, 2, 8, 8))
    assert check_layout('coco', str(coco)).counts['train2017 images opened'] == 3
    (coco / 'train2017' / '000000000002.jpg').write_bytes(b'no image')
    assert check_layout('coco', str(coco)).ok
    assert '000000000002.jpg' in problem(coco, every_file=True)


def test_only_the_parts_of_a_run_are_checked(coco):
    json_of(coco, 'train2017').unlink()
    part = dict(ann_file='annotations/instances_val2017.json', data_prefix=dict(img='val2017/'))
    report = check_layout('coco', str(coco), parts=[part])
    assert report.ok
    assert 'val2017 images' in report.counts
    part['data_prefix'] = dict(img='train2017/')
    assert '2 of 2 images' in problem(coco, parts=[part])
