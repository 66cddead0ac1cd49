"""Masks of real objects of VOC and COCO at a square size."""

import json

import numpy as np
import pytest
from PIL import Image
from skimage.draw import polygon2mask

from orl_mm.datasets.object_masks import batches, coco_objects, voc_objects
from orl_mm.io import image_list

# pycocotools warns once for each mask.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')


def voc(root, masks, instances=None):
    (root / 'ImageSets' / 'Segmentation').mkdir(parents=True)
    (root / 'ImageSets' / 'Segmentation' / 'val.txt').write_text('\n'.join(masks))
    for folder, content in (('SegmentationClass', masks), ('SegmentationObject', instances)):
        if content:
            (root / folder).mkdir()
            for name, ids in content.items():
                Image.fromarray(ids.astype(np.uint8)).save(root / folder / f'{name}.png')
    return root


def test_voc_parts_of_a_class_and_its_border(tmp_path):
    ids = np.zeros((8, 16), int)
    ids[0:4, 0:4], ids[4:8, 8:16], ids[0:2, 12:16] = 3, 3, 5
    ids[:, 6] = 255
    (one,) = voc_objects(voc(tmp_path, dict(a=ids)), size=8)  # rows stay, columns 1, 3, ...
    assert one.path.name == 'a.jpg'
    found = [(*np.ptp(m.nonzero(), 1), *np.min(m.nonzero(), 1), m.sum()) for m in one.objects]
    # Height - 1, width - 1, top, left, area.
    assert sorted(found) == [(1, 1, 0, 6, 4), (3, 1, 0, 0, 8), (3, 3, 4, 4, 16)]
    assert not one.ignore.any()  # column 6 is between the centers
    (one,) = voc_objects(tmp_path, size=16)
    assert np.flatnonzero(one.ignore.all(0)).tolist() == [6]


def test_specks_of_a_class_are_ignored(tmp_path):
    ids = np.zeros((40, 40), int)
    ids[:20, :20], ids[30, 30] = 1, 1
    (one,) = voc_objects(voc(tmp_path, dict(a=ids)), size=40)
    assert [m.sum() for m in one.objects] == [400]
    assert np.argwhere(one.ignore).tolist() == [[30, 30]]


def test_voc_instances_where_there_are_any(tmp_path):
    ids = np.zeros((4, 4), int)
    ids[:, :2] = 1
    two = ids.copy()
    two[2:, :2] = 2  # two that touch
    (one,) = voc_objects(voc(tmp_path, dict(a=ids), dict(a=two)), size=4)
    assert [m.sum() for m in one.objects] == [4, 4]


def coco(tmp_path, annotations, size=(40, 20)):
    (tmp_path / 'images').mkdir()
    Image.new('RGB', size).save(tmp_path / 'images' / 'a.jpg')
    images = [dict(id=7, file_name='a.jpg', width=size[0], height=size[1])]
    annotations = [dict(image_id=7, **a) for a in annotations]
    file = tmp_path / 'instances.json'
    file.write_text(json.dumps(dict(images=images, annotations=annotations)))
    return file, tmp_path / 'images'


def test_coco_polygons_and_crowds(tmp_path):
    pytest.importorskip('pycocotools')
    square = [[10.0, 5.0, 30.0, 5.0, 30.0, 15.0, 10.0, 15.0]]  # the middle half of both sides
    runs = dict(size=[20, 40], counts=[0, 200, 600])  # the first 10 of 40 columns
    annotations = [dict(segmentation=square, iscrowd=0), dict(segmentation=runs, iscrowd=1)]
    (one,) = coco_objects(*coco(tmp_path, annotations), size=20)
    want = np.zeros((20, 20), bool)
    want[5:15, 5:15] = True
    assert np.array_equal(one.objects[0], want)
    assert np.flatnonzero(one.ignore.all(0)).tolist() == list(range(5))


def test_coco_objects_are_their_polygons(shared_data):
    """Of real objects, drawn by scikit-image at the centers of the mask's pixels."""
    pytest.importorskip('pycocotools')
    root = shared_data / 'natural' / 'coco'
    file = root / 'annotations' / 'instances_val2017.json'
    content = json.loads(file.read_text())
    found = coco_objects(file, root / 'val2017', size=64)
    assert len(found) == 40
    image = next(i for i in content['images'] if i['file_name'] == found[0].path.name)
    scale = 64 / np.array([image['height'], image['width']])
    overlap = []
    for item in content['annotations']:
        if item['image_id'] == image['id'] and not item['iscrowd'] and item['area'] > 2000:
            truth = np.zeros((64, 64), bool)
            for part in item['segmentation']:
                corners = np.reshape(part, (-1, 2))[:, ::-1] * scale - 0.5
                truth |= polygon2mask((64, 64), corners)
            overlap.append(max((m & truth).sum() / (m | truth).sum() for m in found[0].objects))
    assert overlap
    assert min(overlap) > 0.9


def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match='give the folder VOC2012'):
        voc_objects(tmp_path)
    root = voc(tmp_path / 'voc', dict(a=np.zeros((2, 2))))
    (root / 'SegmentationClass' / 'a.png').unlink()
    with pytest.raises(ValueError, match='names a, and there is no'):
        voc_objects(root)
    (root / 'ImageSets' / 'Segmentation' / 'val.txt').write_text('\n')
    with pytest.raises(ValueError, match='is empty'):
        voc_objects(root)
    file, folder = coco(tmp_path, [dict(segmentation=[[0, 0, 9, 0, 9, 9]], iscrowd=0)])
    (folder / 'a.jpg').unlink()
    with pytest.raises(ValueError, match='names a.jpg, and there is no'):
        coco_objects(file, folder)
    file.write_text(json.dumps(dict(images=[], annotations=[])))
    with pytest.raises(ValueError, match='no image with objects'):
        coco_objects(file, folder)


def test_batches_hold_every_image_and_are_full():
    got = list(batches([None] * 10, 4))
    assert [len(b) for b in got] == [4, 4, 4]
    assert got == list(batches([None] * 10, 4))
    flat = sum(got, [])
    assert sorted(flat[:10]) == list(range(10))
    assert flat[10:] == flat[:2]
    assert list(batches([None] * 10, 4, seed=1)) != got
    assert [len(b) for b in batches([None] * 3, 8)] == [8]


BOX = np.zeros((20, 40), np.uint8, order='F')
BOX[5:15, 10:30] = 1
CORNERS = [10, 5, 30, 5, 30, 15, 10, 15]


def runs_of(mask):
    """Uncompressed runs: lengths of 0 and 1 in turn, column by column."""
    flat = mask.ravel(order='F')
    ends = np.flatnonzero(np.diff(flat)) + 1
    return np.diff([0, *ends, flat.size]).tolist()


def segmentation(form):
    mask = pytest.importorskip('pycocotools.mask')
    compressed = mask.encode(BOX)
    return {
        'polygon': [CORNERS],
        'two polygons': [CORNERS, CORNERS],
        'runs': dict(size=[20, 40], counts=runs_of(BOX)),
        'compressed': dict(size=[20, 40], counts=compressed['counts'].decode()),
        'another size': dict(size=[40, 20], counts=runs_of(BOX)),
        'compressed, another size': dict(size=[4, 2], counts=compressed['counts'].decode()),
        'empty': [],
        'none': None,
        'one corner': [[1, 1]],
        'no counts': dict(size=[20, 40]),
        'no size': dict(counts=runs_of(BOX)),
        'text': 'polygon',
        'number': 3,
    }[form]


@pytest.mark.parametrize('form', ['polygon', 'two polygons', 'runs', 'compressed'])
def test_coco_forms(tmp_path, form):
    item = dict(id=7, iscrowd=0, segmentation=segmentation(form))
    (one,) = coco_objects(*coco(tmp_path, [item]), size=20)
    expected = np.zeros((20, 20), bool)
    expected[5:15, 5:15] = True
    assert (one.objects[0] != expected).sum() <= 20  # polygons differ on their border
    if 'polygon' not in form:
        assert np.array_equal(one.objects[0], expected)


@pytest.mark.parametrize(
    'form',
    [
        'another size',
        'compressed, another size',
        'empty',
        'none',
        'one corner',
        'no counts',
        'no size',
        'text',
        'number',
    ],
)
def test_coco_forms_that_cannot_be_read_are_counted_and_named(tmp_path, monkeypatch, form):
    lines = []
    monkeypatch.setattr(image_list, 'print_log', lambda text, *_: lines.append(text))
    good = dict(id=7, iscrowd=0, segmentation=segmentation('polygon'))
    arguments = coco(tmp_path, [good, dict(good, id=8, segmentation=segmentation(form))])
    (one,) = coco_objects(*arguments, size=20)
    assert len(one.objects) == 1
    assert '1 of 2 cannot be used, first' in lines[0]
    assert 'annotation 8 (' in lines[0]
    with pytest.raises(ValueError, match='annotation 8 .*max_bad=0'):
        coco_objects(*arguments, size=20, max_bad=0)


@pytest.mark.parametrize(
    'text',
    ['', '[]', '{}', '{"images": [], "annotations": {}}', '{"images": [1], "annotations": []}'],
)
def test_json_of_another_form_is_named(tmp_path, text):
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises(ValueError, match='a.json'):
        coco_objects(path, tmp_path)
