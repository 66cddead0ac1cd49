"""Quality measures of a registration, and the fallback where one fails its checks."""

import re
from functools import partial

import numpy as np
import pytest
from sklearn.metrics import f1_score

from orl_mm.registration import register as module
from orl_mm.registration.elastix import Deformation, ElastixSettings, RegistrationError
from orl_mm.registration.exemplar import Exemplar, make_reference
from orl_mm.registration.quality import Checks, Outcome, Quality, assess, correlation, dice
from orl_mm.registration.register import register_image
from orl_mm.registration.template import Template, write_template
from tests.test_registration.blobs import PARTS, affine, centers, sample

pytest.importorskip('SimpleITK')

SIZE = 64
GRID = np.stack(np.meshgrid(np.arange(SIZE, dtype=float), np.arange(SIZE)), -1)
GOOD = Quality((0.9, 0.8, 0.7), (1.0, 1.0, 1.0), 0.0)


def test_dice_against_scikit_learn():
    a, b = np.random.default_rng(0).random((2, 20, 20)) > 0.4
    assert dice(a, b) == pytest.approx(f1_score(a.ravel(), b.ravel()))
    empty = np.zeros_like(a)
    assert dice(a, empty) == 0
    assert dice(empty, empty) == 1


def test_correlation_against_numpy():
    a, b = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-6)
    assert correlation(a, np.ones_like(a)) == 0
    assert correlation(a[:0], b[:0]) == 0


def test_a_perfect_and_a_shifted_result():
    grey, masks, _ = sample(SIZE)
    image = grey.astype(np.float32)
    seen = partial(assess, image, image, masks.astype(np.uint8))
    warped, quality = seen(GRID)
    assert np.array_equal(warped, masks)
    assert quality.similarity == pytest.approx((1, 1, 1))
    assert (quality.area, quality.folded) == ((1, 1, 1), 0)
    shifted = seen(GRID + (12, 0))[1]
    assert max(shifted.similarity) < 0.8
    assert shifted.folded == 0
    small = seen((GRID - 32) * 2 + 32)[1]  # twice the scale: a quarter of the area
    assert small.area == pytest.approx((0.25, 0.25, 0.25), abs=0.06)
    gone = seen(GRID + (500, 0))[1]
    assert (gone.similarity, gone.area) == ((0, 0, 0), (0, 0, 0))


def test_checks_do_not_depend_on_what_was_registered(reference, monkeypatch):
    """With plain grey levels registered, similarity is still that of evened images."""
    monkeypatch.setattr(module, 'register', lambda *_: Deformation(GRID, GRID))
    plain = ElastixSettings(**{**reference.settings.to_dict(), 'contrast': 0.0})
    grey, masks, _ = sample(SIZE)
    exemplar = Exemplar(grey, dict(zip(PARTS, masks, strict=False)))
    other = sample(SIZE, affine)[0]
    even, raw = (
        register_image(other, make_reference(exemplar, s)).quality.similarity
        for s in (reference.settings, plain)
    )
    assert even == raw


def test_similarity_is_of_each_part():
    """An image that is spoilt around the bar only."""
    grey, masks, _ = sample(SIZE)
    image = grey.astype(np.float32)
    spoilt = image.copy()
    x, y = centers(SIZE)
    near = (abs(x - 0.7) < 0.1) & (abs(y - 0.5) < 0.3)
    spoilt[near] = np.random.default_rng(0).permutation(spoilt[near])
    _, quality = assess(spoilt, image, masks.astype(np.uint8), GRID)
    disc, bar, lid = quality.similarity
    assert disc > 0.95
    assert lid > 0.95
    assert bar < 0.5


@pytest.mark.parametrize(
    ('quality', 'message'),
    [
        (GOOD, None),
        (Quality((0.9, 0.2, 0.7), (1, 1, 1), 0.0), 'similarity 0.20 at bar'),
        (Quality((0.9, float('nan'), 0.7), (1, 1, 1), 0.0), 'similarity nan at bar'),
        (Quality((0.9, 0.8, 0.7), (1, 1, 3.2), 0.0), 'lid has 3.20 times'),
        (Quality((0.9, 0.8, 0.7), (0.3, 1, 1), 0.0), 'disc has 0.30 times'),
        (Quality((0.9, 0.8, 0.7), (1, 1, 1), 0.02), '2.00% of the field folded'),
    ],
)
def test_checks_name_what_is_wrong(quality, message):
    checks = Checks(similarity=0.5, affine_similarity=0.1, folded=0.001, area=3.0)
    reason = checks.reason(quality, PARTS)
    assert reason is None if message is None else reason.startswith(message)


def test_an_affine_result_may_fit_less_closely():
    quality = Quality((0.9, 0.45, 0.7), (1, 1, 1), 0.0)
    assert Checks().reason(quality, PARTS) == 'similarity 0.45 at bar'
    assert Checks().reason(quality, PARTS, affine=True) is None
    assert Checks(affine_similarity=0.46).reason(quality, PARTS, affine=True)


@pytest.mark.parametrize(
    ('name', 'value'),
    [('similarity', 2.0), ('affine_similarity', 2.0), ('folded', -0.1), ('area', 0.5)],
)
def test_checks_out_of_range(name, value):
    with pytest.raises(ValueError, match=f'{name}={value!r}'):
        Checks(**{name: value})


@pytest.fixture(scope='module')
def reference():
    grey, masks, _ = sample(SIZE)
    settings = ElastixSettings(SIZE, affine_iterations=30, bspline_iterations=30, grid=16.0)
    return make_reference(Exemplar(grey, dict(zip(PARTS, masks, strict=False))), settings)


def folded_field():
    field = GRID.copy()
    field[..., 0] = 20 + 12 * np.sin(GRID[..., 0] / 3)
    return field


def test_a_good_image_is_deformable(reference):
    found = register_image(sample(SIZE, affine)[0], reference)
    truth = sample(SIZE, affine)[1]
    assert (found.status, found.reason) == ('deformable', '')
    assert min(dice(a, b) for a, b in zip(found.masks, truth, strict=True)) > 0.9


@pytest.mark.parametrize(
    ('image', 'reason'),
    [
        (np.full((50, 40), 0, np.uint8), 'constant'),
        (np.full((50, 40), 130, np.uint8), 'constant'),
        (
            np.random.default_rng(3).integers(0, 256, (8, 8)).astype(np.uint8),
            'deformable: similarity.*; affine: similarity',
        ),
        (255 - sample(SIZE)[0], '^deformable: similarity'),  # stored inverted
    ],
    ids=['black', 'grey', 'noise', 'inverted'],
)
def test_bad_images_get_the_template(reference, image, reason):
    found = register_image(image, reference)
    assert found.status == 'template'
    assert re.search(reason, found.reason)
    assert np.array_equal(found.masks, reference.fallback)


@pytest.mark.parametrize(
    ('affine_field', 'deformable', 'status', 'reason'),
    [
        (GRID, folded_field(), 'affine', 'deformable: .*folded$'),
        (GRID, GRID + (20, 0), 'affine', 'deformable: similarity'),
        (GRID, None, 'affine', '^deformable: no overlap$'),
        (GRID + (30, 0), folded_field(), 'template', 'deformable: .*folded; affine: similarity'),
        (GRID * (-1, 1), GRID + (20, 0), 'template', 'affine: 100.00% of the field folded'),
    ],
)
def test_bad_fields_fall_back(reference, monkeypatch, affine_field, deformable, status, reason):
    found = Deformation(affine_field, deformable, None if deformable is not None else 'no overlap')
    monkeypatch.setattr(module, 'register', lambda *_: found)
    grey, masks, _ = sample(SIZE)
    found = register_image(grey, reference)
    assert found.status == status
    assert re.search(reason, found.reason)
    assert np.array_equal(found.masks, masks if status == 'affine' else reference.fallback)


def test_a_failure_of_elastix_falls_back(reference, monkeypatch):
    def fail(*_):
        raise RegistrationError('Too many samples map outside moving image buffer')

    monkeypatch.setattr(module, 'register', fail)
    found = register_image(sample(SIZE)[0], reference)
    assert (found.status, found.quality) == ('template', None)
    assert found.reason.startswith('Too many samples')


def test_notes_keep_all_but_the_masks():
    for kept in (Outcome('affine', 'deformable: "x", ü', GOOD), Outcome('template', '', None)):
        assert Outcome.from_note(kept.note()) == kept
    long = Outcome('template', 'y' * 900, Quality((0.1234567,) * 16, (1.23456,) * 16, 0.1))
    assert len(long.note().encode()) <= 600
    for wrong in ('', '{}', '[]', 'words'):
        with pytest.raises(ValueError, match='no note|Expecting'):
            Outcome.from_note(wrong)


def test_fallback_of_a_file(tmp_path):
    """Parts are taken by name, resized, and thresholded at one half."""
    grey, masks, _ = sample(SIZE)
    exemplar = Exemplar(grey, dict(zip(PARTS, masks, strict=False)))
    maps = np.stack([np.full((32, 32), v, np.float32) for v in (0.2, 0.6, 0.7, 0.8)])
    maps[1, :, 16:] = 0.4
    path = tmp_path / 'average.npz'
    write_template(path, Template(('other', 'bar', 'lid', 'disc'), maps))
    found = make_reference(exemplar, ElastixSettings(SIZE, grid=16.0), fallback=str(path))
    assert found.fallback.shape == (3, SIZE, SIZE)
    assert found.fallback[1, :, :32].all()
    assert not found.fallback[1, :, 32:].any()
    assert found.fallback[[0, 2]].all()
    for template, message in (
        (Template(('bar', 'lid'), maps[1:3]), 'lacks disc; it has bar, lid'),
        (Template(('bar', 'lid', 'disc'), maps[:3]), 'nothing is left of bar in the fallback'),
    ):
        write_template(path, template)
        with pytest.raises(ValueError, match=message):
            make_reference(exemplar, fallback=str(path))


def test_fallback_by_default(reference):
    """Triangles where they have all parts, the exemplar's own masks for anything else."""
    assert reference.fallback_name == "the exemplar's own masks"
    grey, masks, _ = sample(SIZE)
    assert np.array_equal(reference.fallback, masks)
    chest = make_reference(Exemplar(grey, dict(heart=masks[0], left_lung=masks[1])))
    assert chest.fallback_name == 'cxr_triangles'
    columns = [part.sum(0) @ np.arange(256) / part.sum() for part in chest.fallback]
    assert columns[0] < columns[1]  # the left lung is on the viewer's right


def test_a_part_that_vanishes_when_squashed():
    grey, masks, _ = sample(256)
    dot = np.zeros((256, 256), bool)
    dot[3, 3] = True
    with pytest.raises(ValueError, match='nothing is left of dot at 32 x 32'):
        make_reference(Exemplar(grey, dict(disc=masks[0], dot=dot)), ElastixSettings(32))
