"""Cached masks equal computed ones; whatever is wrong with a cache is said."""

import io
import json
import os
import re
import shlex
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from PIL import Image

from orl_mm.datasets.transforms import GenerateSuperpixels, LoadImage
from orl_mm.io.atomic import write_atomic
from orl_mm.map_cache.entry import CacheError, encode_entry, entry_info
from orl_mm.superpixels.build import BuildJob, build
from orl_mm.superpixels.cache import SuperpixelCache
from orl_mm.superpixels.spec import PriorSpec

SIZE = 48


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    root = tmp_path / 'images'
    for i in range(4):
        small = rng.integers(0, 256, (6, 6, 3), np.uint8)
        path = root / f'class{i % 2}' / f'{i}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small).resize((70, 50)).save(path)
    return root


def paths(root):
    return sorted(os.path.relpath(p, root) for p in root.rglob('*.*'))


def make(images, out, spec=PriorSpec('slic', {}, SIZE), **options):
    job = BuildJob(spec, str(images), str(out), source=('--folder', str(images)))
    with ThreadPoolExecutor(1) as pool:
        return build(job, paths(images), pool, chunk=3, **options)


def load(images, relative='class0/0.jpg', **options):
    options = dict(dict(size=SIZE), **options)
    results = LoadImage().transform(dict(img_path=str(images / relative)))
    return GenerateSuperpixels(**options).transform(results)


@pytest.mark.parametrize(
    ('method', 'params'),
    [
        ('slic', {}),
        ('slic', dict(normalize=True, num_segments=30)),
        ('felzenszwalb', dict(min_size=20)),
        ('grid', dict(num_cells=5)),
        ('grid', dict(num_cells=20)),
    ],
)
def test_cached_equals_online(images, tmp_path, method, params):
    out = tmp_path / 'cache'
    counts = make(images, out, PriorSpec(method, params, SIZE))
    assert (counts.written, counts.total) == (4, 4)
    for relative in paths(images):
        online = load(images, relative, method=method, **params)
        cached = load(images, relative, method=method, cache=str(out), **params)
        assert cached['regions'].dtype == online['regions'].dtype
        assert cached['regions'].equal(online['regions'])
        assert cached['num_regions'] == online['num_regions']
    assert 'class1/3.jpg.png' in [os.path.relpath(p, out) for p in out.rglob('*.png')]


def test_official_configs_masks_are_told_from_the_thesis(images, tmp_path):
    make(images, tmp_path / 'c')
    with pytest.raises(CacheError, match='normalize False instead of True'):
        load(images, cache=str(tmp_path / 'c'), normalize=True)


def test_entries_say_what_they_are():
    labels = np.arange(300).reshape(15, 20)
    x0 = np.zeros((15, 20, 3), np.uint8)
    png = encode_entry(labels, '01234567', 999, x0)
    info = entry_info(png[:160], png[-12:])
    assert (info.key, info.image_bytes) == ('01234567', 999)
    plain = Image.open(io.BytesIO(png))
    assert np.array_equal(np.asarray(plain), labels)
    assert plain.text['orl_mm'].startswith('01234567 999 ')
    assert entry_info(png[:160], png[-13:-1]) is None
    with pytest.raises(ValueError, match='70000 regions'):
        encode_entry(np.arange(70000), 'k', 0, x0)


def rebuild_command(error):
    """The words of the command that a message ends with."""
    line = str(error.value).splitlines()[-1].strip()
    assert line.startswith('python tools/cache_superpixels.py ')
    return shlex.split(line)[2:]


def test_no_cache(images, tmp_path):
    with pytest.raises(CacheError, match='no superpixel cache') as error:
        load(images, cache=str(tmp_path / 'none'), root=str(images))
    words = rebuild_command(error)
    assert words[:4] == ['--folder', str(images), '--out', str(tmp_path / 'none')]


def damage(kind, entry, images):
    data = entry.read_bytes()
    if kind == 'missing':
        entry.unlink()
    elif kind == 'cut':
        entry.write_bytes(data[: len(data) // 2])
    elif kind == 'empty':
        entry.write_bytes(b'')
    elif kind == 'flipped bit':
        middle = len(data) - 40
        entry.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    elif kind == 'foreign':
        Image.open(entry).save(entry)  # the same labels, from another program
    elif kind == 'other key':
        entry.write_bytes(data.replace(PriorSpec('slic', {}, SIZE).key.encode(), b'deadbeef'))
    elif kind == "another image's":
        other = entry.parent / '2.jpg.png'
        entry.write_bytes(other.read_bytes())
    elif kind == 'image changed':
        path = images / 'class0' / '0.jpg'
        Image.open(path).rotate(180).save(path)


@pytest.mark.parametrize(
    'kind',
    [
        'missing',
        'cut',
        'empty',
        'flipped bit',
        'foreign',
        'other key',
        "another image's",
        'image changed',
    ],
)
def test_bad_entries_are_refused_and_mended(images, tmp_path, kind):
    out = tmp_path / 'cache'
    make(images, out)
    damage(kind, out / 'class0' / '0.jpg.png', images)
    with pytest.raises(CacheError, match='class0/0.jpg') as error:
        load(images, cache=str(out))
    words = rebuild_command(error)
    job = BuildJob(PriorSpec('slic', {}, SIZE), str(images), str(out), verify='--verify' in words)
    with ThreadPoolExecutor(1) as pool:
        counts = build(job, paths(images), pool)
    assert (counts.written, counts.skipped) == (1, 3)
    assert load(images, cache=str(out))['regions'].equal(load(images)['regions'])


def test_check_size_and_none(images, tmp_path):
    out = tmp_path / 'cache'
    make(images, out)
    path = images / 'class0' / '0.jpg'
    path.write_bytes(path.read_bytes() + b'\0')
    load(images, cache=str(out))  # the same pixels
    with pytest.raises(CacheError, match='stale'):
        load(images, cache=str(out), check='size')
    Image.open(path).rotate(180).save(path)
    load(images, cache=str(out), check='none')
    with pytest.raises(ValueError, match="check='crc'"):
        load(images, cache=str(out), check='crc')


def test_resume_skips_without_decoding(images, tmp_path, monkeypatch):
    out = tmp_path / 'cache'
    make(images, out)
    monkeypatch.setattr('orl_mm.superpixels.build.decode_image', None)
    assert make(images, out).skipped == 4


def test_newer_but_equal_image_is_kept(images, tmp_path, monkeypatch):
    out = tmp_path / 'cache'
    make(images, out)
    os.utime(images / 'class0' / '0.jpg', (2**33, 2**33))
    monkeypatch.setattr(PriorSpec, '__call__', None)  # nothing is computed
    assert make(images, out).skipped == 4


def test_newer_image_of_the_same_size_is_done_again(images, tmp_path):
    out = tmp_path / 'cache'
    path, other = images / 'class0' / '0.jpg', images / 'class0' / '2.jpg'
    for file in (path, other):  # bytes after the end do not count
        file.write_bytes(file.read_bytes().ljust(10000, b'\0'))
    make(images, out)
    path.write_bytes(other.read_bytes())
    os.utime(path, (2**33, 2**33))
    assert make(images, out).written == 1
    assert load(images, cache=str(out))['regions'].equal(load(images, 'class0/2.jpg')['regions'])


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(params=dict(num_segments=50)), 'num_segments 100 instead of 50'),
        (dict(size=64), 'size 48 instead of 64'),
        (dict(method='grid'), "method 'slic' instead of 'grid'"),
    ],
)
def test_other_parameters_are_refused(images, tmp_path, change, words):
    out = tmp_path / 'cache'
    make(images, out)
    spec = PriorSpec(**{**dict(method='slic', params={}, size=SIZE), **change})
    with pytest.raises(CacheError, match=re.escape(words)) as error:
        make(images, out, spec)
    assert '--overwrite' in rebuild_command(error)
    with pytest.raises(CacheError, match=re.escape(words)) as error:
        SuperpixelCache(str(out), spec)
    assert '--overwrite' in rebuild_command(error)
    assert make(images, out, spec, overwrite=True).written == 4
    SuperpixelCache(str(out), spec)


def test_other_scikit_image_is_refused(images, tmp_path):
    out = tmp_path / 'cache'
    make(images, out)
    file = out / 'superpixels.json'
    file.write_text(re.sub('scikit-image [^"]+', 'scikit-image 0.18.1', file.read_text()))
    for attempt in (lambda: make(images, out), lambda: load(images, cache=str(out))):
        with pytest.raises(CacheError, match='scikit-image 0.18.1'):
            attempt()


def test_another_root_is_refused(images, tmp_path):
    out = tmp_path / 'cache'
    make(images, out)
    moved = tmp_path / 'moved'
    images.rename(moved)
    with pytest.raises(CacheError, match='root'):
        make(moved, out)
    with pytest.raises(ValueError, match='root='):
        load(moved, cache=str(out))
    load(moved, cache=str(out), root=str(moved))


def test_provenance(images, tmp_path):
    out = tmp_path / 'cache'
    (images / 'class0' / 'bad.jpg').write_bytes(b'\xff\xd8\xff\xe0 no')
    counts = make(images, out)
    assert counts.written == 4
    assert len(counts.unreadable) == 1
    text = (out / 'unreadable.txt').read_text()
    assert text.startswith('class0/bad.jpg\t')
    file = json.loads((out / 'superpixels.json').read_text())
    assert file['complete']
    assert (file['images'], file['unreadable']) == (5, 1)
    assert file['spec']['params']['num_segments'] == 100
    assert file['spec']['library'].startswith('scikit-image 0.')
    (images / 'class0' / 'bad.jpg').unlink()
    make(images, out)
    assert not (out / 'unreadable.txt').exists()
    (out / 'superpixels.json').write_text('{"spec": ')
    with pytest.raises(CacheError, match='damaged'):
        load(images, cache=str(out))


def test_write_atomic_leaves_nothing_half(tmp_path, monkeypatch):
    target = tmp_path / 'a' / 'x.png'
    write_atomic(str(target), b'old', str(tmp_path))

    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', broken)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(str(target), b'new', str(tmp_path))
    assert target.read_bytes() == b'old'
    assert [p.name for p in tmp_path.iterdir()] == ['a']


def _slow_build(images, out):
    """A tenth of a second a mask, in a process that the test kills."""
    original = PriorSpec.__call__

    def call(self, x0):
        time.sleep(0.1)
        return original(self, x0)

    PriorSpec.__call__ = call
    make(images, out)


def test_killed_and_resumed(images, tmp_path):
    for i in range(4, 30):
        (images / 'class0' / f'{i}.jpg').write_bytes((images / 'class0' / '0.jpg').read_bytes())
    out = tmp_path / 'cache'
    process = get_context('fork').Process(target=_slow_build, args=(images, out))
    process.start()
    while len(list(out.rglob('*.jpg.png'))) < 3 and process.is_alive():
        time.sleep(0.01)
    process.kill()  # SIGKILL
    process.join()
    assert process.exitcode == -signal.SIGKILL
    finished = list(out.rglob('*.jpg.png'))
    assert 3 <= len(finished) < 30
    for entry in finished:
        data = entry.read_bytes()
        assert entry_info(data[:160], data[-12:]) is not None
    assert not json.loads((out / 'superpixels.json').read_text())['complete']
    with pytest.raises(CacheError, match='is missing'):
        load(images, 'class1/3.jpg', cache=str(out))
    counts = make(images, out)
    assert counts.skipped == len(finished)
    assert counts.written == 30 - len(finished)
    for relative in paths(images)[::7]:
        assert load(images, relative, cache=str(out))['regions'].equal(
            load(images, relative)['regions']
        )


def test_old_temporary_files_are_cleared(images, tmp_path):
    out = tmp_path / 'cache'
    make(images, out)
    for name, age in (('old', 7200), ('fresh', 0)):
        (out / '.tmp' / name).write_bytes(b'')
        os.utime(out / '.tmp' / name, (time.time() - age,) * 2)
    make(images, out)
    assert os.listdir(out / '.tmp') == ['fresh']


def test_few_tasks_at_a_time(images, tmp_path):
    """No executor ever holds more than in_flight tasks of `chunk` images."""
    waiting, most = set(), []

    class Counting(ThreadPoolExecutor):
        def submit(self, function, job, batch):
            assert len(batch) <= 2
            future = super().submit(function, job, batch)
            waiting.add(future)
            future.add_done_callback(waiting.discard)
            most.append(len(waiting))
            return future

    job = BuildJob(PriorSpec('grid', {}, 8), str(images), str(tmp_path / 'c'))
    many = paths(images) * 20
    with Counting(2) as pool:
        counts = build(job, iter(many), pool, chunk=2, in_flight=3)
    assert counts.total == 80
    assert max(most) <= 3
