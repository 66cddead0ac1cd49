import pickle

import pytest
from mmengine.dataset import RepeatDataset
from mmengine.registry import init_default_scope

from orl_mm.datasets import ImageList
from orl_mm.io.image_list import read_class_list
from orl_mm.registry import DATASETS

FOUND = ['a/deep/x.png', 'b/10.JPEG', 'b/2.jpg', 'c/1.jpg', 'top.jpg']


@pytest.fixture
def folder(tmp_path):
    for name in FOUND + ['notes.txt', 'b/.hidden.jpg', '.git/y.jpg']:
        path = tmp_path / 'data' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'x')
    return tmp_path / 'data'


def names(dataset, folder):
    return [
        dataset.get_data_info(i)['img_path'][len(str(folder)) + 1 :] for i in range(len(dataset))
    ]


def test_folder_is_searched_in_a_fixed_order(folder):
    dataset = DATASETS.build(dict(type='orl_mm.ImageList', data_root=str(folder)))
    assert names(dataset, folder) == FOUND
    assert dataset[0]['sample_idx'] == 0
    assert dataset.data_list == []  # kept serialized
    assert dataset.data_bytes.nbytes > 0
    assert names(pickle.loads(pickle.dumps(dataset)), folder) == FOUND


def test_links_are_followed_once(folder):
    (folder / 'a' / 'loop').symlink_to(folder)
    (folder / 'd').symlink_to(folder / 'c')
    assert len(ImageList(str(folder))) == 5


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


@pytest.mark.parametrize(
    ('option', 'text', 'message'),
    [
        ('list_file', '\n', 'no lines'),
        ('list_file', 'gone.jpg\n', '1 of the 1 images.*do not exist.*gone.jpg'),
        ('classes_file', 'b\nabsent\n', '1 of the 2 classes.*absent'),
        ('classes_file', 'void\n', 'void holds no image'),
    ],
)
def test_lists_of_missing_images(folder, tmp_path, option, text, message):
    (folder / 'void').mkdir()
    listing = tmp_path / 'list.txt'
    listing.write_text(text)
    with pytest.raises(ValueError, match=message):
        ImageList(str(folder), **{option: str(listing)})
    with pytest.raises(ValueError, match='no image below'):
        ImageList(str(folder / 'void'))


def test_stock_data_sets_work_too(shared_data):
    """ImageNet's layout read by mmpretrain, wrapped by mmengine."""
    init_default_scope('mmpretrain')
    superpixels = dict(type='orl_mm.GenerateSuperpixels', method='grid')
    pipeline = [dict(type='orl_mm.SeedSample'), dict(type='orl_mm.LoadImage'), superpixels]
    root = str(shared_data / 'natural' / 'imagenet_sample')
    for cfg in (
        dict(type='mmpretrain.ImageNet', split='train'),
        dict(type='mmpretrain.CustomDataset', data_prefix='train', with_label=False),
    ):
        cfg = dict(cfg, data_root=root, pipeline=pipeline)
        dataset = RepeatDataset(DATASETS.build(cfg), 2)
        assert len(dataset) == 2000
        assert dataset[1500]['num_regions'] == 100


def test_missing_image_in_the_middle_of_a_list(tmp_path):
    """Every listed image is looked for, so that no worker fails hours later."""
    for i in (0, 2, 4):
        (tmp_path / f'{i}.jpg').touch()
    names = tmp_path / 'names.txt'
    names.write_text('\n'.join(f'{i}.jpg' for i in range(5)) + '\na/5.jpg\n')
    with pytest.raises(ValueError, match='3 of the 6 images.*1.jpg, .*3.jpg, .*a/5.jpg; copy'):
        ImageList(str(tmp_path), list_file=str(names))
    names.write_text('0.jpg\n./2.jpg\n4.jpg\n')
    assert len(ImageList(str(tmp_path), list_file=str(names))) == 3
