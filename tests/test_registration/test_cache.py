"""The cache of templates; what all caches share is tested in tests/test_map_cache."""

import json

import numpy as np
import pytest
from PIL import Image

from orl_mm.registration.cache import TemplateCache, TemplateSpec, pack_parts, unpack_parts
from orl_mm.registration.elastix import ElastixSettings
from orl_mm.registration.exemplar import Exemplar, make_reference
from orl_mm.registration.quality import Checks
from orl_mm.registration.register import register_image
from tests.test_map_cache.test_map_cache import SETTINGS, SIZE, Templates, make, save
from tests.test_registration.blobs import PARTS, affine, sample

pytest.importorskip('SimpleITK')


@pytest.mark.parametrize('count', [1, 8, 9, 16])
def test_parts_in_bits(count):
    masks = np.random.default_rng(0).integers(0, 2, (count, 5, 6)).astype(np.uint8)
    packed = pack_parts(masks)
    assert packed[2, 3] == sum(int(m[2, 3]) << r for r, m in enumerate(masks))
    assert np.array_equal(unpack_parts(packed, count), masks)


@pytest.fixture
def images(tmp_path):
    """A grey image that can be registered, a color one, and a constant one."""
    grey = sample(SIZE, affine)[0]
    save(tmp_path / 'images' / 'a.png', grey)
    save(tmp_path / 'images' / 'c.png', np.stack([grey, grey // 2, 255 - grey], -1))
    save(tmp_path / 'images' / 'd.png', np.full((30, 40), 9, np.uint8))
    return tmp_path / 'images'


def test_status_and_outcome_are_stored(images, tmp_path):
    kind, out, names = Templates(), tmp_path / 'out', ['a.png', 'c.png', 'd.png']
    counts = make(kind, images, out, names)
    assert counts.status['template'] == 1  # the constant one
    assert make(kind, images, out, names).status == counts.status  # read from the entries
    cache = TemplateCache(str(out))
    assert cache.parts == PARTS
    for name in names:
        path = images / name
        pixels = kind.spec.decode(path.read_bytes(), str(path))
        expected = register_image(pixels, kind.spec.reference)
        found = cache.outcome(str(path))
        assert (found.status, found.reason) == (expected.status, expected.reason)
        assert np.array_equal(found.masks, expected.masks)
    with Image.open(out / 'a.png.png') as png:
        assert png.mode == 'L'


def test_sixteen_parts(images, tmp_path):
    grey, masks, _ = sample(SIZE)
    many = Exemplar(grey, {f'part{i:02d}': masks[i % 3] for i in range(16)})
    spec = TemplateSpec(make_reference(many, SETTINGS))
    make(None, images, tmp_path / 'out', ['a.png'], spec=spec)
    got = TemplateCache(str(tmp_path / 'out')).read(str(images / 'a.png'))
    assert got.shape == (16, SIZE, SIZE)
    assert np.array_equal(got[15], got[0])
    pixels = spec.decode((images / 'a.png').read_bytes(), 'a.png')
    assert np.array_equal(got, register_image(pixels, spec.reference).masks)


def test_provenance_says_what_templates_depend_on(images, tmp_path):
    kind = Templates()
    make(kind, images, tmp_path / 'out', ['d.png'])
    found = json.loads((tmp_path / 'out' / 'templates.json').read_text())
    assert found['template'] == 1
    made_of = dict(
        exemplar=kind.spec.reference.digest,
        parts=list(PARTS),
        settings=SETTINGS.to_dict(),
        checks=Checks().to_dict(),
    )
    assert found['spec'].items() >= made_of.items()
    assert 'SimpleITK' in found['spec']['library']


def test_keys_differ_where_templates_may_differ():
    grey, masks, _ = sample(SIZE)
    exemplar = Exemplar(grey, dict(zip(PARTS, masks, strict=True)))
    seed = ElastixSettings(**{**SETTINGS.to_dict(), 'seed': 5})
    references = [
        make_reference(exemplar, SETTINGS),
        make_reference(exemplar, seed),
        make_reference(exemplar, SETTINGS, Checks(similarity=0.11)),
        make_reference(Exemplar(255 - grey, exemplar.masks), SETTINGS),
        make_reference(Exemplar(grey, dict(disc=masks[0], bar=masks[1], lid=masks[1])), SETTINGS),
    ]
    keys = {TemplateSpec(reference).key for reference in references}
    keys.add(TemplateSpec(references[0], '{"type": "LoadImage"}').key)
    assert len(keys) == 6
