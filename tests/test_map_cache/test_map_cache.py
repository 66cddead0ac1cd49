"""Caches of superpixels and templates: maps come back unchanged, damaged entries are noticed."""

import json
import os
import re
import shlex
import signal
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from PIL import Image

from orl_mm.datasets.convert import ConvertSpec, Item
from orl_mm.map_cache.build import BuildJob, build
from orl_mm.map_cache.entry import CacheError, encode_entry, entry_info
from orl_mm.registration.cache import TemplateCache, TemplateSpec
from orl_mm.registration.elastix import ElastixSettings
from orl_mm.registration.exemplar import Exemplar, make_reference
from orl_mm.superpixels.cache import PriorSpec, SuperpixelCache
from tests.test_registration.blobs import PARTS, affine, sample, smooth

SIZE = 48
SETTINGS = ElastixSettings(
    SIZE, affine_iterations=2, bspline_iterations=2, resolutions=1, grid=16.0, samples=64
)
NAMES = ['a/0.png', 'a/2.png', 'b/1.png', 'b/3.png']


class Superpixels:
    spec, other = PriorSpec('slic', {}, SIZE), PriorSpec('slic', dict(num_segments=50), SIZE)
    differs, keys = 'params.num_segments 100 instead of 50', ('superpixels.json', '--method slic')
    made = 'orl_mm.superpixels.cache.compute_prior'

    def reader(self, out, **options):
        return SuperpixelCache(str(out), self.spec, **options)

    def read(self, out, image, **options):
        pixels = self.spec.decode(image.read_bytes(), str(image))
        return self.reader(out, **options).read(str(image), pixels)

    def compute(self, image):
        return self.spec(self.spec.decode(image.read_bytes(), str(image)))


class Templates:
    differs, keys = 'settings.seed 0 instead of 5', ('templates.json', 'register_templates.py')
    made = 'orl_mm.registration.cache.register_image'

    def __init__(self):
        pytest.importorskip('SimpleITK')
        grey, masks, _ = sample(SIZE)
        exemplar = Exemplar(grey, dict(zip(PARTS, masks, strict=True)))
        self.spec = TemplateSpec(make_reference(exemplar, SETTINGS))
        other = ElastixSettings(**{**SETTINGS.to_dict(), 'seed': 5})
        self.other = TemplateSpec(make_reference(exemplar, other))

    def reader(self, out, **options):
        return TemplateCache(str(out), **options)

    def read(self, out, image, **options):
        img = np.array(Image.open(image).convert('RGB'))
        return self.reader(out, **options).read(str(image), img)

    def compute(self, image):
        pixels = self.spec.decode(image.read_bytes(), str(image))
        bits = self.spec.make('', pixels).array
        return np.stack([bits >> r & 1 for r in range(3)])


@pytest.fixture(params=[Superpixels, Templates], ids=['superpixels', 'templates'])
def kind(request):
    return request.param()


@pytest.fixture
def images(tmp_path):
    root = tmp_path / 'images'
    for i, name in enumerate(NAMES):
        grey = sample(SIZE, (affine, smooth)[i % 2])[0]
        save(root / name, np.roll(grey, i // 2, 1))
    return root


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def make(kind, images, out, names=NAMES, overwrite=False, spec=None, **options):
    job = BuildJob(spec or kind.spec, str(images), str(out), source=('--folder', str(images)))
    job = BuildJob(**{**vars(job), **options})
    with ThreadPoolExecutor(1) as pool:
        return build(job, names, pool, chunk=3, overwrite=overwrite)


def command_of(error):
    """The words of the command that a message ends with."""
    line = str(error.value).splitlines()[-1].strip()
    assert line.startswith('python tools/')
    return shlex.split(line)[1:]


def test_maps_come_back_as_computed(kind, images, tmp_path):
    counts = make(kind, images, tmp_path / 'out')
    assert (counts.written, counts.skipped, counts.total) == (4, 0, 4)
    for name in NAMES:
        assert (tmp_path / 'out' / f'{name}.png').is_file()
        assert np.array_equal(
            kind.read(tmp_path / 'out', images / name), kind.compute(images / name)
        )
    found = json.loads((tmp_path / 'out' / kind.keys[0]).read_text())
    assert found['complete']
    assert (found['images'], found['unreadable']) == (4, 0)
    assert found['spec'] == json.loads(json.dumps(kind.spec.to_dict()))


def other_labels(entry, data):
    """The labels of another image under this image's head."""
    other = (entry.parent / '2.png.png').read_bytes()
    text = data[data.index(b'tEXt') - 4 : data.index(b'IDAT') - 4]
    return other[:33] + text + other[other.index(b'IDAT') - 4 :]


# What an entry (a path and its bytes) is replaced with, and the message; None deletes it.
DAMAGE = {
    'missing': (None, 'is missing'),
    'cut': (lambda entry, data: data[:-20], 'is cut or foreign'),
    'empty': (lambda entry, data: b'', 'is cut or foreign'),
    'flipped bit': (
        lambda entry, data: data[:-40] + bytes([data[-40] ^ 1]) + data[-39:],
        'is damaged',
    ),
    'foreign': (  # the same labels, written by another program
        lambda entry, data: cv2.imencode('.png', cv2.imread(str(entry), -1))[1].tobytes(),
        'is cut or foreign',
    ),
    'other key': (
        lambda entry, data: data.replace(entry_info(data, data).key.encode(), b'deadbeef'),
        'belongs to another cache',
    ),
    "another image's": (lambda entry, data: (entry.parent / '2.png.png').read_bytes(), 'is stale'),
    'labels of another': (other_labels, 'is damaged'),
    'image changed': (lambda entry, data: data, 'is stale'),
}


@pytest.mark.parametrize('how', DAMAGE)
def test_bad_entries_are_noticed_and_rebuilt(kind, images, tmp_path, how):
    out, image = tmp_path / 'out', images / NAMES[0]
    make(kind, images, out)
    damage, message = DAMAGE[how]
    entry = out / f'{NAMES[0]}.png'
    entry.write_bytes(damage(entry, entry.read_bytes())) if damage else entry.unlink()
    if how == 'image changed':
        save(image, np.asarray(Image.open(image))[::-1])
    with pytest.raises(CacheError, match=f'(?s)a/0.png {message}') as error:
        kind.read(out, image)
    words = command_of(error)
    assert kind.keys[1] in ' '.join(words)
    assert words[words.index('--out') + 1] == str(out)
    assert words[words.index('--folder') + 1] == str(images)
    counts = make(kind, images, out, verify='--verify' in words)
    assert (counts.written, counts.skipped) == (1, 3)
    assert np.array_equal(kind.read(out, image), kind.compute(image))


def test_how_a_changed_image_is_noticed(kind, images, tmp_path):
    out, image = tmp_path / 'out', images / NAMES[0]
    make(kind, images, out)
    image.write_bytes(image.read_bytes() + b'\0')
    kind.read(out, image)  # the same pixels
    with pytest.raises(CacheError, match='stale'):
        kind.read(out, image, check='size')
    with pytest.raises(CacheError, match='stale'):  # no pixels given: by its size
        kind.reader(out).read(str(image))
    save(image, np.asarray(Image.open(image))[::-1])
    kind.read(out, image, check='none')
    with pytest.raises(ValueError, match="check='crc'"):
        kind.reader(out, check='crc')


def test_finished_entries_are_kept(kind, images, tmp_path, monkeypatch):
    out, image = tmp_path / 'out', images / NAMES[0]
    make(kind, images, out)
    with monkeypatch.context() as patch:
        patch.setattr(kind.made, None)
        with monkeypatch.context() as inner:
            inner.setattr(type(kind.spec), 'decode', None)
            assert make(kind, images, out).skipped == 4  # nothing is decoded
        os.utime(image, (2**33, 2**33))
        assert make(kind, images, out).skipped == 4  # newer, but the same: nothing is computed
    (out / f'{NAMES[1]}.png').unlink()
    assert make(kind, images, out).written == 1


def test_newer_image_of_the_same_size_is_done_again(kind, images, tmp_path):
    out, image, other = tmp_path / 'out', images / NAMES[0], images / NAMES[2]
    for file in (image, other):  # bytes after the end do not count
        file.write_bytes(file.read_bytes().ljust(10000, b'\0'))
    make(kind, images, out)
    image.write_bytes(other.read_bytes())
    os.utime(image, (2**33, 2**33))
    assert make(kind, images, out).written == 1
    assert np.array_equal(kind.read(out, image), kind.compute(other))


def test_another_spec_is_not_mixed_in(kind, images, tmp_path):
    out = tmp_path / 'out'
    make(kind, images, out)
    with pytest.raises(CacheError, match=re.escape(kind.differs)) as error:
        make(kind, images, out, spec=kind.other)
    assert command_of(error)[-1] == '--overwrite'
    assert make(kind, images, out, spec=kind.other, overwrite=True).written == 4
    if isinstance(kind, Superpixels):  # a reader of templates takes what there is
        with pytest.raises(CacheError, match='num_segments 50 instead of 100') as error:
            kind.reader(out)
        assert command_of(error)[-1] == '--overwrite'


def test_no_cache_another_format_and_damage(kind, images, tmp_path):
    out = tmp_path / 'out'
    with pytest.raises(CacheError, match='there are no .* in') as error:
        kind.reader(out, root=str(images))
    assert command_of(error)[1:3] == ['--folder', str(images)]
    make(kind, images, out)
    path = out / kind.keys[0]
    path.write_text(json.dumps({**json.loads(path.read_text()), 'format': 99}))
    with pytest.raises(CacheError, match='format 99 instead of 1'):
        kind.reader(out)
    path.write_text(path.read_text()[:-30])
    with pytest.raises(CacheError, match='is damaged'):
        kind.reader(out)


@pytest.mark.parametrize(
    'where', ['together', 'images', 'cache', 'link', 'link to images', 'link in']
)
def test_moved_and_linked(kind, images, tmp_path, where):
    """Entries are found by relative path; the recorded root may be gone."""
    out, home = tmp_path / 'data' / 'out', tmp_path / 'data' / 'images'
    home.parent.mkdir()
    images.rename(home)
    if where == 'link in':  # class folders are links to elsewhere
        (tmp_path / 'store').mkdir()
        for name in 'ab':
            (home / name).rename(tmp_path / 'store' / name)
            (home / name).symlink_to(tmp_path / 'store' / name)
    make(kind, home, out)
    expected = {name: kind.compute(home / name) for name in NAMES}
    new = tmp_path / 'new'
    if where in ('together', 'link'):
        home.parent.rename(new) if where == 'together' else new.symlink_to(home.parent)
        home, out = new / 'images', new / 'out'
    elif where == 'cache':
        out = out.rename(new)
    else:
        home.rename(new) if where == 'images' else new.symlink_to(home)
        home = new
    for name in NAMES:
        assert np.array_equal(kind.read(out, home / name), expected[name])
    counts = make(kind, home, out)
    assert (counts.written, counts.skipped) == (0, 4)


def test_images_right_below_the_root_may_move(kind, images, tmp_path):
    make(kind, images / 'a', tmp_path / 'out', ['0.png'])
    (images / 'a').rename(tmp_path / 'moved')
    image = tmp_path / 'moved' / '0.png'
    assert np.array_equal(kind.read(tmp_path / 'out', image), kind.compute(image))


def test_images_that_moved_are_compared(kind, images, tmp_path):
    """Contents, not only times and sizes, are compared in another folder."""
    out, image = tmp_path / 'out', images / NAMES[0]
    for name in NAMES:
        (images / name).write_bytes((images / name).read_bytes().ljust(10000, b'\0'))
    make(kind, images, out)
    image.write_bytes((images / NAMES[1]).read_bytes())
    os.utime(image, (0, 0))
    assert make(kind, images, out).written == 0
    images.rename(tmp_path / 'moved')
    assert make(kind, tmp_path / 'moved', out).written == 1
    with pytest.raises(CacheError, match='does not lie below'):
        kind.reader(out).read(str(tmp_path / 'elsewhere.png'))


def test_unreadable_images_are_listed(kind, images, tmp_path):
    out = tmp_path / 'out'
    (images / 'bad.jpg').write_bytes(b'\xff\xd8\xff\xe0 no')
    counts = make(kind, images, out, [*NAMES, 'none.png', 'bad.jpg'])
    assert (counts.total, len(counts.unreadable)) == (6, 2)
    listed = (out / 'unreadable.txt').read_text().splitlines()
    assert [line.split('\t')[0] for line in listed] == ['bad.jpg', 'none.png']
    assert json.loads((out / kind.keys[0]).read_text())['unreadable'] == 2
    make(kind, images, out)
    assert not (out / 'unreadable.txt').exists()


class Converted:
    """Not read by a reader, but built in the same way; images with masks."""

    spec, keys = ConvertSpec('folder', 16, format='jpg', polarity='check'), ('converted.json',)


def files_of(out):
    return {
        p.relative_to(out): p.read_bytes() for p in out.rglob('*.*') if p.suffix in ('.png', '.jpg')
    }


@pytest.fixture(params=[Superpixels, Templates, Converted])
def any_kind(request, images):
    kind, names = request.param(), NAMES
    if isinstance(kind, Converted):
        names = [Item(str(images / name), f'images/{name[:-4]}.jpg') for name in NAMES]
    return kind, names


def _slow_build(kind, names, images, out):
    plain = BuildJob.write

    def slow(self, relative, data):
        plain(self, relative, data)
        time.sleep(0.2)

    BuildJob.write = slow
    make(kind, images, out, names)


def test_killed_and_resumed(any_kind, images, tmp_path):
    """SIGKILL at some moment; the same call ends with the files of an undisturbed build."""
    kind, names = any_kind
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    make(kind, images, whole, names)
    child = get_context('fork').Process(target=_slow_build, args=(kind, names, images, broken))
    child.start()
    deadline = time.time() + 60
    while not files_of(broken) and time.time() < deadline:
        time.sleep(0.02)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    done = len(files_of(broken))
    assert 1 <= done < 4
    assert not json.loads((broken / kind.keys[0]).read_text())['complete']
    counts = make(kind, images, broken, names)
    assert (counts.skipped, counts.written) == (done, 4 - done)
    assert files_of(broken) == files_of(whole)
    assert json.loads((broken / kind.keys[0]).read_text())['complete']


def test_same_in_processes_and_on_dask(any_kind, images, tmp_path):
    from distributed import Client, LocalCluster

    kind, names = any_kind
    make(kind, images, tmp_path / 'one', names)
    job = BuildJob(kind.spec, str(images), str(tmp_path / 'two'))
    with ProcessPoolExecutor(2, get_context('fork')) as pool:
        build(job, names, pool, chunk=1)
    assert files_of(tmp_path / 'two') == files_of(tmp_path / 'one')
    job = BuildJob(kind.spec, str(images), str(tmp_path / 'three'))
    options = dict(processes=False, protocol='tcp', dashboard_address=None)
    with LocalCluster(1, threads_per_worker=1, **options) as cluster, Client(cluster) as client:
        assert build(job, names, client.get_executor(), chunk=2).written == 4
    assert files_of(tmp_path / 'three') == files_of(tmp_path / 'one')


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
    with Counting(2) as pool:
        counts = build(job, iter(NAMES * 20), pool, chunk=2, in_flight=3)
    assert counts.total == 80
    assert max(most) <= 3


def test_errors_of_the_computation_and_of_writing_stop_the_build(images, tmp_path, monkeypatch):
    """Only unreadable images are listed and skipped."""
    for target, error in (
        ('orl_mm.superpixels.cache.compute_prior', ValueError('prior')),
        ('orl_mm.map_cache.build.encode_entry', OSError('disk full')),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, Mock(side_effect=error))
            with pytest.raises(type(error), match=str(error)):
                make(Superpixels(), images, tmp_path / 'out')


def test_old_temporary_files_are_removed(images, tmp_path):
    make(Superpixels(), images, tmp_path / 'out')
    temp = tmp_path / 'out' / '.tmp'
    for name, age in (('old', 7200), ('fresh', 0)):
        (temp / name).write_bytes(b'')
        os.utime(temp / name, (time.time() - age,) * 2)
    make(Superpixels(), images, tmp_path / 'out')
    assert os.listdir(temp) == ['fresh']


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_entries_say_what_they_were_made_from(suffix):
    array = np.full((15, 20), 77)
    pixels = np.zeros((15, 20, 3), np.uint8)
    options = [] if suffix == '.jpg' else [cv2.IMWRITE_PNG_COMPRESSION, 6]
    data = encode_entry(array, '01234567', 999, pixels, 'a note', suffix, options)
    info = entry_info(data[:300], data[-12:])
    assert (info.key, info.image_bytes, info.note) == ('01234567', 999, 'a note')
    assert (cv2.imdecode(np.frombuffer(data, np.uint8), -1) == 77).all()
    assert entry_info(data[:300], data[-13:-1]) is None
    assert entry_info(cv2.imencode(suffix, pixels)[1].tobytes(), data) is None
    for end in range(60):  # cut anywhere in its head
        assert entry_info(data[:end], data[-12:]) is None


def test_limits_of_entries():
    labels = np.arange(300).reshape(15, 20)
    png = encode_entry(labels, 'k', 0, labels)
    assert np.array_equal(cv2.imdecode(np.frombuffer(png, np.uint8), -1), labels)  # 16 bits
    with pytest.raises(ValueError, match='70000 regions'):
        encode_entry(np.arange(70000), 'k', 0, labels)
    with pytest.raises(ValueError, match='note of 601 bytes'):
        encode_entry(labels, 'k', 0, labels, 'x' * 601)
