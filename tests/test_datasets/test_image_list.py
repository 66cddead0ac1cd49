import pickle

import pytest
from mmengine.dataset import RepeatDataset
from mmengine.registry import init_default_scope

from orl_mm.datasets import ImageList
from orl_mm.io.image_list import read_class_list
from orl_mm.registry import DATASETS


@pytest.fixture
def folder(tmp_path):
    for name in (
        'b/2.jpg',
        'b/10.JPEG',
        'a/deep/x.png',
        'c/1.jpg',
        'top.jpg',
        'notes.txt',
        'b/.hidden.jpg',
        '.git/y.jpg',
    ):
        path = tmp_path / 'data' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'x')
    return tmp_path / 'data'


def names(dataset, folder):
    return [
        dataset.get_data_info(i)['img_path'][len(str(folder)) + 1 :] for i in range(len(dataset))
    ]


def test_folder_is_searched_in_a_fixed_order(folder):
    expected = ['a/deep/x.png', 'b/10.JPEG', 'b/2.jpg', 'c/1.jpg', 'top.jpg']
    assert names(ImageList(str(folder)), folder) == expected
    dataset = DATASETS.build(dict(type='orl_mm.ImageList', data_root=str(folder)))
    assert names(dataset, folder) == expected
    assert dataset[0]['sample_idx'] == 0


def test_list_is_kept_serialised(folder):
    dataset = ImageList(str(folder))
    assert dataset.data_list == []
    assert dataset.data_bytes.nbytes > 0
    again = pickle.loads(pickle.dumps(dataset))
    assert names(again, folder) == names(dataset, folder)


def test_links_are_followed_once(folder):
    (folder / 'a' / 'loop').symlink_to(folder)
    (folder / 'd').symlink_to(folder / 'c')
    found = names(ImageList(str(folder)), folder)
    assert len(found) == 5


def test_list_file(folder, tmp_path):
    listing = tmp_path / 'list.txt'
    listing.write_text(f'c/1.jpg\n\n{folder}/b/2.jpg\r\nb/10.JPEG\n')
    dataset = ImageList(str(folder), list_file=str(listing))
    assert names(dataset, folder) == ['c/1.jpg', 'b/2.jpg', 'b/10.JPEG']


def test_classes_file(folder, tmp_path):
    classes = tmp_path / 'classes.txt'
    classes.write_text('c\nb\n')
    dataset = ImageList(str(folder), classes_file=str(classes))
    assert names(dataset, folder) == ['c/1.jpg', 'b/10.JPEG', 'b/2.jpg']
    listing = tmp_path / 'list.txt'
    listing.write_text('c/1.jpg\na/deep/x.png\n')
    dataset = ImageList(str(folder), list_file=str(listing), classes_file=str(classes))
    assert names(dataset, folder) == ['c/1.jpg']


def test_imagenet100_list():
    classes = read_class_list('imagenet100')
    assert len(set(classes)) == len(classes) == 100
    assert all(c[0] == 'n' and c[1:].isdigit() and len(c) == 9 for c in classes)
    # The first and the last of the authors' data/imagenet100.txt.
    assert (classes[0], classes[1]) == ('n02869837', 'n01749939')


def test_imagenet100_of_the_sample(shared_data):
    root = shared_data / 'natural' / 'imagenet_sample' / 'train'
    assert len(ImageList(str(root), classes_file='imagenet100')) == 100
    assert len(ImageList(str(root))) == 1000


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(data_root='nowhere'), "data_root='nowhere' is not a folder"),
        (dict(list_file='no.txt'), "list_file='no.txt' is no"),
        (dict(classes_file='imagenet99'), "classes_file='imagenet99'"),
    ],
)
def test_missing_things(folder, options, words):
    with pytest.raises(ValueError, match=words):
        ImageList(**dict(dict(data_root=str(folder)), **options))


def test_empty_things(folder, tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    with pytest.raises(ValueError, match='no image below'):
        ImageList(str(empty))
    listing = tmp_path / 'list.txt'
    listing.write_text('\n')
    with pytest.raises(ValueError, match='no lines'):
        ImageList(str(folder), list_file=str(listing))
    listing.write_text('gone.jpg\n')
    with pytest.raises(ValueError, match='does not exist.*gone.jpg'):
        ImageList(str(folder), list_file=str(listing))
    listing.write_text('b\nabsent\n')
    with pytest.raises(ValueError, match='1 of the 2 classes.*absent'):
        ImageList(str(folder), classes_file=str(listing))
    (folder / 'void').mkdir()
    listing.write_text('void\n')
    with pytest.raises(ValueError, match='void holds no image'):
        ImageList(str(folder), classes_file=str(listing))


def test_stock_data_sets_work_too(shared_data):
    """ImageNet's layout read by mmpretrain, wrapped by mmengine."""
    init_default_scope('mmpretrain')
    pipeline = [
        dict(type='orl_mm.SeedSample'),
        dict(type='orl_mm.LoadImage'),
        dict(type='orl_mm.GenerateSuperpixels', method='grid'),
    ]
    root = str(shared_data / 'natural' / 'imagenet_sample')
    for cfg in (
        dict(type='mmpretrain.ImageNet', data_root=root, split='train'),
        dict(
            type='mmpretrain.CustomDataset', data_root=root, data_prefix='train', with_label=False
        ),
    ):
        dataset = RepeatDataset(DATASETS.build(dict(cfg, pipeline=pipeline)), 2)
        assert len(dataset) == 2000
        assert dataset[1500]['num_regions'] == 100


def test_missing_image_in_the_middle_of_a_list(tmp_path):
    """The first image alone says nothing of the others: a worker would stop hours later."""
    for i in (0, 2, 4):
        (tmp_path / f'{i}.jpg').touch()
    names = tmp_path / 'names.txt'
    names.write_text('\n'.join(f'{i}.jpg' for i in range(5)) + '\na/5.jpg\n')
    with pytest.raises(ValueError, match='3 of the 6 images.*1.jpg, .*3.jpg, .*a/5.jpg; copy'):
        ImageList(str(tmp_path), list_file=str(names))
    names.write_text('0.jpg\n./2.jpg\n4.jpg\n')
    assert len(ImageList(str(tmp_path), list_file=str(names))) == 3
