"""Templates come back as they were made; whatever is wrong with a cache is said, with the fix."""

import io
import json
import os
import re
import signal
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from PIL import Image

from orl_mm.map_cache.entry import CacheError, read_entry_info
from orl_mm.registration import build as module
from orl_mm.registration.build import RegistrationJob, build, decoder
from orl_mm.registration.cache import (
    TemplateCache,
    pack_parts,
    read_provenance,
    spec_key,
    unpack_parts,
)
from orl_mm.registration.elastix_settings import ElastixSettings
from orl_mm.registration.exemplar import Exemplar
from orl_mm.registration.outcome import Outcome
from orl_mm.registration.quality import Checks
from orl_mm.registration.reference import make_reference
from orl_mm.registration.register_image import register_image
from tests.test_registration.blobs import PARTS, affine, sample, smooth

pytest.importorskip('SimpleITK')

SIZE = 48
SETTINGS = ElastixSettings(
    SIZE, affine_iterations=12, bspline_iterations=12, resolutions=2, grid=16.0, samples=256
)


@pytest.fixture(scope='module')
def reference():
    grey, masks, _ = sample(SIZE)
    return make_reference(Exemplar(grey, dict(zip(PARTS, masks, strict=False))), SETTINGS)


@pytest.fixture
def images(tmp_path):
    """Two registrable images, a colour one, and one that is constant."""
    root = tmp_path / 'images'
    greys = dict(
        a=sample(SIZE, affine)[0], b=sample(SIZE, smooth)[0], d=np.full((30, 40), 9, np.uint8)
    )
    for name, grey in greys.items():
        save(root / name[0] / f'{name}.png', grey)
    colour = np.stack([greys['b'], greys['b'] // 2, 255 - greys['b']], -1)
    save(root / 'c' / 'c.png', colour)
    return root


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def paths(root):
    return sorted(os.path.relpath(p, root) for p in root.rglob('*.*'))


def job_of(reference, images, out, **options):
    options = dict(dict(source=('--folder', str(images))), **options)
    return RegistrationJob(reference, reference.spec(), str(images), str(out), **options)


def make(reference, images, out, names=None, overwrite=False, **options):
    job = job_of(reference, images, out, **options)
    with ThreadPoolExecutor(1) as pool:
        return build(job, names or paths(images), pool, chunk=2, overwrite=overwrite)


def grey_of(path):
    with open(path, 'rb') as file:
        return decoder('{"type": "LoadXray"}')(file.read(), str(path))


@pytest.mark.parametrize('count', [1, 8, 9, 16])
def test_parts_in_bits(count):
    masks = np.random.default_rng(0).integers(0, 2, (count, 5, 6)).astype(np.uint8)
    packed = pack_parts(masks)
    assert packed[2, 3] == sum(int(m[2, 3]) << r for r, m in enumerate(masks))
    assert np.array_equal(unpack_parts(packed, count), masks)


def test_read_equals_made(reference, images, tmp_path):
    out = tmp_path / 'out'
    counts = make(reference, images, out)
    cache = TemplateCache(str(out))
    assert cache.parts == PARTS
    assert counts.total == 4
    assert not counts.unreadable
    assert counts.done['template'] == 1  # the constant one
    for relative in paths(images):
        grey = grey_of(images / relative)
        expected = register_image(grey, reference)
        img = np.repeat(grey[..., None], 3, 2)
        got = cache.read(str(images / relative), img)
        assert got.shape == (3, SIZE, SIZE)
        assert got.dtype == np.uint8
        assert np.array_equal(got, expected.masks)
        outcome = cache.outcome(str(images / relative))
        assert (outcome.status, outcome.reason) == (expected.status, expected.reason)
        assert np.array_equal(outcome.masks, expected.masks)
    with Image.open(out / 'a' / 'a.png.png') as png:
        assert png.mode == 'L'


def test_sixteen_parts(images, tmp_path):
    grey, masks, _ = sample(SIZE)
    many = make_reference(
        Exemplar(grey, {f'part{i:02d}': masks[i % 3] for i in range(16)}), SETTINGS
    )
    make(many, images, tmp_path / 'out', ['a/a.png'])
    got = TemplateCache(str(tmp_path / 'out')).read(str(images / 'a' / 'a.png'))
    assert got.shape == (16, SIZE, SIZE)
    assert np.array_equal(got[15], got[0])
    assert np.array_equal(got[:3], register_image(grey_of(images / 'a' / 'a.png'), many).masks[:3])


def test_provenance_says_what_it_was_made_of(reference, images, tmp_path):
    make(reference, images, tmp_path / 'out')
    found = read_provenance(str(tmp_path / 'out'))
    assert found['complete'] is True
    assert found['images'] == 4
    assert found['template'] == 1
    spec = found['spec']
    assert spec['exemplar'] == reference.digest
    assert spec['parts'] == list(PARTS)
    assert spec['settings'] == SETTINGS.to_dict()
    assert spec['checks'] == Checks().to_dict()
    assert 'SimpleITK' in spec['library']


def test_finished_entries_are_kept(reference, images, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    make(reference, images, out)
    calls = []
    plain = module.register_image
    monkeypatch.setattr(module, 'register_image', lambda *a: calls.append(1) or plain(*a))
    counts = make(reference, images, out)
    assert counts.skipped == 4
    assert not calls
    assert counts.done['template'] == 1
    (out / 'b' / 'b.png.png').unlink()
    assert make(reference, images, out).skipped == 3
    assert len(calls) == 1


def test_changed_images_are_made_again(reference, images, tmp_path):
    out, image = tmp_path / 'out', images / 'a' / 'a.png'
    make(reference, images, out)
    cache, old = TemplateCache(str(out)), grey_of(image)
    before = cache.read(str(image), old)
    save(image, sample(SIZE, smooth)[0])
    with pytest.raises(CacheError, match='(?s)is stale.*register_templates.py .*--verify'):
        cache.read(str(image), grey_of(image))
    os.utime(image, ns=(time.time_ns() + 10**9,) * 2)
    assert make(reference, images, out).skipped == 3
    assert not np.array_equal(cache.read(str(image), grey_of(image)), before)


def test_verify_finds_what_times_hide(reference, images, tmp_path):
    """An entry whose pixels were changed; its text says what they should be."""
    out = tmp_path / 'out'
    make(reference, images, out)
    entry = out / 'a' / 'a.png.png'
    other = (out / 'b' / 'b.png.png').read_bytes()
    data = entry.read_bytes()
    start, stop = data.index(b'tEXt') - 4, data.index(b'IDAT') - 4
    ours = data[start:stop]
    start, stop = other.index(b'tEXt') - 4, other.index(b'IDAT') - 4
    entry.write_bytes(other[:start] + ours + other[stop:])
    cache = TemplateCache(str(out))
    with pytest.raises(CacheError, match='is damaged'):
        cache.read(str(images / 'a' / 'a.png'))
    assert make(reference, images, out).skipped == 4
    assert make(reference, images, out, verify=True).skipped == 3
    cache.read(str(images / 'a' / 'a.png'))


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def foreign(path):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((SIZE, SIZE), np.uint8)).save(buffer, 'PNG')
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    ('spoil', 'said'),
    [
        (lambda path: path.unlink(), 'is missing'),
        (cut, 'is cut or foreign'),
        (foreign, 'is cut or foreign'),
    ],
)
def test_bad_entries(reference, images, tmp_path, spoil, said):
    out = tmp_path / 'out'
    make(reference, images, out, ['a/a.png'])
    spoil(out / 'a' / 'a.png.png')
    cache = TemplateCache(str(out))
    with pytest.raises(
        CacheError,
        match=f'(?s){said}.*python tools/register_templates.py '
        f'--folder {re.escape(str(images))} --out {re.escape(str(out))}',
    ):
        cache.read(str(images / 'a' / 'a.png'))
    make(reference, images, out, ['a/a.png'])
    assert cache.read(str(images / 'a' / 'a.png')).any()


def test_entries_of_another_cache(reference, images, tmp_path):
    grey, masks, _ = sample(SIZE)
    other = make_reference(
        Exemplar(grey, dict(disc=masks[0], bar=masks[1], lid=masks[1])), SETTINGS
    )
    make(reference, images, tmp_path / 'one', ['a/a.png'])
    make(other, images, tmp_path / 'two', ['a/a.png'])
    os.replace(tmp_path / 'two' / 'a' / 'a.png.png', tmp_path / 'one' / 'a' / 'a.png.png')
    with pytest.raises(CacheError, match='belongs to another cache'):
        TemplateCache(str(tmp_path / 'one')).read(str(images / 'a' / 'a.png'))


def test_a_cache_made_otherwise_is_not_mixed(reference, images, tmp_path):
    out = tmp_path / 'out'
    make(reference, images, out)
    grey, masks, _ = sample(SIZE)
    exemplar = Exemplar(grey, dict(zip(PARTS, masks, strict=False)))
    for other, said in (
        (
            make_reference(exemplar, ElastixSettings(**{**SETTINGS.to_dict(), 'seed': 5})),
            'settings.seed 0 instead of 5',
        ),
        (
            make_reference(exemplar, SETTINGS, Checks(similarity=0.11)),
            'checks.similarity .* instead of 0.11',
        ),
        (make_reference(Exemplar(255 - grey, exemplar.masks), SETTINGS), "exemplar '"),
    ):
        with pytest.raises(CacheError, match=f'(?s){said}.*--overwrite'):
            make(other, images, out)
    with pytest.raises(CacheError, match='root .* instead of'):
        make(reference, images / 'a', out, ['a.png'])
    make(other, images, out, overwrite=True)
    assert TemplateCache(str(out)).key == spec_key(other.spec())


def test_no_cache_another_format_and_damage(tmp_path, reference, images):
    with pytest.raises(CacheError, match='(?s)no registered templates in .*--exemplar IMAGE'):
        TemplateCache(str(tmp_path))
    make(reference, images, tmp_path / 'out', ['a/a.png'])
    path = tmp_path / 'out' / 'templates.json'
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, 'format': 99}))
    with pytest.raises(CacheError, match='format 99 instead of 1'):
        TemplateCache(str(tmp_path / 'out'))
    path.write_text(path.read_text()[:-30])
    with pytest.raises(CacheError, match='is damaged'):
        TemplateCache(str(tmp_path / 'out'))
    with pytest.raises(ValueError, match="check='all'"):
        TemplateCache(str(tmp_path / 'out'), check='all')


def test_root_may_move(reference, images, tmp_path):
    make(reference, images, tmp_path / 'out', ['a/a.png'])
    os.replace(images, tmp_path / 'moved')
    image = str(tmp_path / 'moved' / 'a' / 'a.png')
    assert TemplateCache(str(tmp_path / 'out'), root=str(tmp_path / 'moved')).read(image).any()
    with pytest.raises(ValueError, match='does not lie below'):
        TemplateCache(str(tmp_path / 'out')).read(image)


def test_how_changes_are_noticed(reference, images, tmp_path):
    make(reference, images, tmp_path / 'out', ['a/a.png'])
    image = images / 'a' / 'a.png'
    grey = grey_of(image)
    image.write_bytes(image.read_bytes() + b'\0')
    read = lambda check, *img: TemplateCache(  # noqa: E731
        str(tmp_path / 'out'), check=check
    ).read(str(image), *img)
    assert read('pixels', grey).any()
    assert read('none').any()
    for check, img in (('size', [grey]), ('pixels', []), ('pixels', [255 - grey])):
        with pytest.raises(CacheError, match='is stale'):
            read(check, *img)


def test_unreadable_images_are_listed(reference, images, tmp_path):
    (images / 'bad.jpg').write_bytes(b'\xff\xd8\xff')
    counts = make(reference, images, tmp_path / 'out', [*paths(images), 'none.png'])
    assert counts.total == 6
    assert len(counts.unreadable) == 2
    listed = (tmp_path / 'out' / 'unreadable.txt').read_text().splitlines()
    assert {line.split('\t')[0] for line in listed} == {'bad.jpg', 'none.png'}
    (images / 'bad.jpg').unlink()
    make(reference, images, tmp_path / 'out')
    assert not (tmp_path / 'out' / 'unreadable.txt').exists()


def test_same_in_parallel_processes(reference, images, tmp_path):
    make(reference, images, tmp_path / 'one')
    job = job_of(reference, images, tmp_path / 'two')
    with ProcessPoolExecutor(2, get_context('fork')) as pool:
        build(job, paths(images), pool, chunk=1)
    for relative in paths(images):
        a, b = ((tmp_path / name / f'{relative}.png').read_bytes() for name in ('one', 'two'))
        assert a == b


def _forever(reference, images, out):
    """Runs until it is killed: each entry takes a while to be written."""
    plain = module.write_atomic

    def slow(path, data, temp_dir):
        plain(path, data, temp_dir)
        time.sleep(0.2)

    module.write_atomic = slow
    make(reference, images, out)


def test_a_killed_job_goes_on(reference, images, tmp_path):
    """SIGKILL at some moment; the same call ends with the same files as an undisturbed run."""
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    make(reference, images, whole)
    child = get_context('fork').Process(target=_forever, args=(reference, images, broken))
    child.start()
    deadline = time.time() + 20
    while not list(broken.rglob('?.png.png')) and time.time() < deadline:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    done = len(list(broken.rglob('?.png.png')))
    assert 1 <= done < 4
    assert read_provenance(str(broken))['complete'] is False
    assert make(reference, images, broken).skipped == done
    for relative in paths(images):
        a, b = ((folder / f'{relative}.png').read_bytes() for folder in (whole, broken))
        assert a == b
    assert read_provenance(str(broken))['complete'] is True


def test_note_of_an_entry(reference, images, tmp_path):
    make(reference, images, tmp_path / 'out', ['d/d.png'])
    note = read_entry_info(str(tmp_path / 'out' / 'd' / 'd.png.png')).note
    assert Outcome.from_note(note).status == 'template'
