"""Images and caches in LMDB databases and behind mmengine's other file back ends."""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
from mmengine.fileio import LmdbBackend
from mmpretrain.datasets import build_dataset
from PIL import Image
from torch.utils.data import DataLoader

from orl_mm.datasets.image_list import ImageList
from orl_mm.datasets.transforms import LoadImage
from orl_mm.io import lmdb_files
from orl_mm.io.files import check_backend
from orl_mm.io.lmdb_files import LmdbError, LmdbFiles, open_database, pack
from orl_mm.map_cache.entry import CacheError
from orl_mm.superpixels.cache import PriorSpec, SuperpixelCache
from tools import cache_superpixels, pack_images

NAMES = ['a/1.png', 'a/ü 2.png', 'b/3.png', 'b/4.png', 'b/5.png']


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for name in NAMES:
        path = tmp_path / 'photos' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return tmp_path / 'photos'


@pytest.fixture
def database(photos):
    folder = photos.parent / 'photos.lmdb'
    pack_images.main(['--folder', str(photos), '--out', str(folder)])
    yield folder
    close(folder)


def close(folder):
    found = lmdb_files._environments.pop(str(folder.resolve()), None)
    if found is not None:
        found.close()


def packed(photos, folder, **options):
    return pack(
        NAMES,
        lambda key: (photos / key).read_bytes(),
        lambda key, stored: stored == (photos / key).read_bytes(),
        str(folder),
        **options,
    )


def test_files_come_back(photos, database):
    files = LmdbFiles(str(database))
    assert files.keys() == NAMES
    assert [files.get(name) for name in NAMES] == [(photos / x).read_bytes() for x in NAMES]
    with pytest.raises(FileNotFoundError, match="no key 'c.png'"):
        files.get('c.png')


def test_mmengine_reads_the_same(photos, tmp_path):
    packed(photos, tmp_path / 'db')
    backend = LmdbBackend(str(tmp_path / 'db'))
    assert backend.get('b/3.png') == (photos / 'b/3.png').read_bytes()
    backend._client.close()


def test_interrupted_packing_continues(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_files, '_COMMIT', 2)
    folder = tmp_path / 'db'
    with pytest.raises(KeyboardInterrupt):
        packed(photos, folder, progress=lambda number: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(LmdbError, match='not finished'):
        LmdbFiles(str(folder)).keys()
    assert packed(photos, folder) == (3, 2, [])
    assert LmdbFiles(str(folder)).keys() == NAMES
    (photos / 'b/4.png').write_bytes(b'another')
    assert packed(photos, folder) == (1, 4, [])
    assert LmdbFiles(str(folder)).get('b/4.png') == b'another'
    (photos / 'b/4.png').unlink()
    written, unchanged, failed = packed(photos, folder)
    assert (written, unchanged, failed[0][0]) == (0, 4, 'b/4.png')
    close(folder)


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda data: data[: len(data) // 2], 'was cut: it has'),
        (lambda data: b'x' * len(data), 'not an LMDB database'),
        (lambda data: b'', 'not an LMDB database'),
    ],
)
def test_damaged_database_is_an_error(photos, tmp_path, damage, message):
    packed(photos, tmp_path / 'db')
    data = tmp_path / 'db/data.mdb'
    data.write_bytes(damage(data.read_bytes()))
    with pytest.raises(LmdbError, match=message):
        open_database(str(tmp_path / 'db'))


@pytest.mark.parametrize(('name', 'fix'), [('a\nb', 'rename'), ('x' * 600, 'rename')])
def test_impossible_key(tmp_path, name, fix):
    with pytest.raises(ValueError, match=fix):
        pack([name], str.encode, lambda *_: False, str(tmp_path / 'db'))


def test_folder_that_cannot_be_written(photos, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(LmdbError, match='cannot be written'):
        packed(photos, tmp_path / 'file')


def images_of(dataset):
    loader = DataLoader(dataset, batch_size=None, num_workers=2, collate_fn=lambda x: x)
    return [sample['img'] for sample in loader]


def test_training_images_from_a_database(photos, database):
    pipeline = [dict(type='orl_mm.LoadImage')]
    plain = build_dataset(dict(type='orl_mm.ImageList', data_root=str(photos), pipeline=pipeline))
    LmdbFiles(str(database)).get(NAMES[0])  # opened before the workers are forked
    found = build_dataset(dict(type='orl_mm.ImageList', data_root=str(database), pipeline=pipeline))
    for a, b in zip(images_of(plain), images_of(found), strict=True):
        np.testing.assert_array_equal(a, b)
    (photos.parent / 'classes.txt').write_text('b\n')
    some = ImageList(str(database), classes_file=str(photos.parent / 'classes.txt'))
    assert [some.get_data_info(i)['img_path'] for i in range(len(some))] == NAMES[2:]


def test_training_images_from_a_server(photos, tmp_path):
    handler = partial(SimpleHTTPRequestHandler, directory=str(photos))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / 'list.txt').write_text('a/1.png\nb/6.png\n')
    data = ImageList(f'http://127.0.0.1:{server.server_port}', list_file=str(tmp_path / 'list.txt'))
    load = LoadImage()
    first, second = (load(data.get_data_info(i)) for i in range(2))
    server.shutdown()
    server.server_close()
    np.testing.assert_array_equal(
        first['img'][..., ::-1], np.asarray(Image.open(photos / 'a/1.png'))
    )
    assert second is None  # it is counted, and another image is drawn
    assert load.num_bad == 1


@pytest.mark.parametrize(
    ('backend_args', 'error', 'message'),
    [
        (dict(backend='tape'), ValueError, "needs a backend of .*'lmdb'"),
        (dict(path='x'), ValueError, 'needs a backend of'),
        (dict(backend='lmdb'), ValueError, 'db_path=FOLDER'),
        (dict(backend='http', speed=1), ValueError, 'do not fit http'),
        (dict(backend='lmdb', db_path='x'), ImportError, 'pip install lmdb'),
    ],
)
def test_back_end_that_does_not_work(monkeypatch, backend_args, error, message):
    monkeypatch.setitem(sys.modules, 'lmdb', None)
    for use in (check_backend, partial(ImageList, ''), LoadImage):
        with pytest.raises(error, match=message):
            use(backend_args=backend_args)


def test_superpixels_from_a_database(photos, database, tmp_path, capsys):
    """Images and maps both come from databases, and each is checked as a file's would be."""
    spec, out = PriorSpec('grid', dict(num_cells=3), 16), tmp_path / 'grid'
    command = ['--method', 'grid', '--params', 'num_cells=3', '--size', '16', '--workers', '1']
    cache_superpixels.main(['--folder', str(database), '--out', str(out), *command])
    assert '5 masks made' in capsys.readouterr().out
    cache_superpixels.main(['--folder', str(database), '--out', str(out), '--to', 'lmdb', *command])
    assert '0 masks made, 5 were there' in capsys.readouterr().out
    folder = tmp_path / 'grid.lmdb'
    cache = SuperpixelCache(str(folder), spec)
    files = SuperpixelCache(str(out), spec)
    for key in NAMES:
        x0 = spec.decode((photos / key).read_bytes(), key)
        np.testing.assert_array_equal(cache.read(key, x0), spec(x0))
        np.testing.assert_array_equal(files.read(str(photos / key), x0), spec(x0))
    with pytest.raises(CacheError, match=r'stale(.|\n)*--to lmdb'):
        cache.read(NAMES[0], x0)
    with pytest.raises(CacheError, match='is missing'):
        cache.read('c/1.png', x0)
    other = PriorSpec('grid', dict(num_cells=2), 16)
    with pytest.raises(CacheError, match='num_cells 3 instead of 2'):
        SuperpixelCache(str(folder), other)
    close(folder)
    entry = (out / f'{NAMES[1]}.png').read_bytes()
    pack([f'{NAMES[0]}.png'], lambda key: entry[:-20], lambda *_: False, str(folder))
    with pytest.raises(CacheError, match='is cut or foreign'):
        cache.read(NAMES[0], x0)
    close(folder)


def test_fast_backend_checks_images_of_a_database_by_their_size(photos, database, tmp_path):
    out = tmp_path / 'grid'
    command = ['--method', 'grid', '--params', 'num_cells=3', '--size', '16', '--workers', '1']
    cache_superpixels.main(['--folder', str(photos), '--out', str(out), *command])
    pipeline = [
        dict(type='orl_mm.LoadImage'),
        dict(
            type='orl_mm.GenerateSuperpixels',
            method='grid',
            num_cells=3,
            size=16,
            cache=str(out),
            backend='fast',
        ),
    ]
    data = dict(type='orl_mm.ImageList', data_root=str(database), pipeline=pipeline)
    assert [sample['num_regions'] for sample in build_dataset(data)] == [9] * 5
    (photos / NAMES[3]).write_bytes((photos / NAMES[3]).read_bytes() + b' ')
    close(database)
    pack_images.main(['--folder', str(photos), '--out', str(database)])
    with pytest.raises(CacheError, match='stale'):
        build_dataset(data)[3]
