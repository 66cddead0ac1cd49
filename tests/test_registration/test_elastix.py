"""Known deformations are found again; Elastix leaves nothing behind; nothing depends on chance."""

import ctypes
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

pytest.importorskip('SimpleITK')

from orl_mm.registration import elastix as module  # noqa: E402
from orl_mm.registration.contrast import prepare  # noqa: E402
from orl_mm.registration.elastix import (  # noqa: E402
    ELASTIX_DEFAULTS,
    Deformation,
    ElastixSettings,
    RegistrationError,
    register,  # noqa: E402
    warp_image,
    warp_labels,
)
from orl_mm.registration.quality import dice  # noqa: E402
from orl_mm.registration.register import coarse_fit, focus  # noqa: E402
from tests.test_registration.blobs import affine, sample, smooth, wide  # noqa: E402

SIZE = 96
SETTINGS = ElastixSettings(SIZE, grid=16.0, affine_iterations=60, bspline_iterations=60)


def run(deform, settings=SETTINGS, search=False):
    moving, masks, _ = sample(SIZE)
    fixed, truth, positions = sample(SIZE, deform)
    fixed, moving = (prepare(v, SIZE, settings.contrast) for v in (fixed, moving))
    start = coarse_fit(fixed, moving, masks, 0.55) if search else None
    return register(fixed, moving, settings, start), masks, truth, positions, start


@pytest.mark.parametrize(
    ('deform', 'stage'), [(affine, 'affine'), (affine, 'deformable'), (smooth, 'deformable')]
)
def test_a_known_deformation_is_found(deform, stage):
    """Masks overlap with the true ones, and points inside the parts land where they came from."""
    found, masks, truth, positions, _ = run(deform)
    got = getattr(found, stage)
    before = [dice(a, b) for a, b in zip(masks, truth, strict=False)]
    after = [dice(a, b) for a, b in zip(warp_labels(masks, got), truth, strict=False)]
    assert min(after) > max(0.95, *before), (before, after)
    error = np.hypot(*(got - positions).transpose(2, 0, 1))[truth.any(0)]
    assert error.mean() < 0.8, error.mean()


def test_affine_stage_is_affine():
    found, *_ = run(smooth)
    assert np.abs(np.diff(found.affine, 2, axis=0)).max() < 1e-9
    assert np.abs(np.diff(found.affine, 2, axis=1)).max() < 1e-9
    assert np.abs(np.diff(found.deformable, 2, axis=0)).max() > 1e-3


def test_search_starts_where_descent_would_not_arrive():
    """The true scales are 0.70 and 0.75; without the search the parts are missed."""
    lost, masks, truth, *_ = run(wide)
    found, _, _, positions, start = run(wide, search=True)
    assert np.allclose(start[0], [0.7, 0.75], rtol=0.1)
    exact = [(positions[0, -1, 0] - positions[0, 0, 0]) / (SIZE - 1), positions[0, 0, 0]]
    assert exact[0] == pytest.approx(0.7)
    assert start[1, 0] == pytest.approx(exact[1], abs=0.05 * SIZE)
    scores = {
        name: min(
            dice(a, b) for a, b in zip(warp_labels(masks, got.deformable), truth, strict=False)
        )
        for name, got in (('lost', lost), ('found', found))
    }
    assert scores['found'] > 0.95
    assert scores['lost'] < 0.8


def test_search_finds_an_exact_fit_at_once():
    grey, masks, _ = sample(SIZE)
    image = prepare(grey, SIZE, 1 / 16)
    assert coarse_fit(image, image, masks, 0.55) == pytest.approx(np.array([[1, 1], [0, 0]]))
    constant = np.zeros_like(image)
    assert np.isfinite(coarse_fit(constant, image, masks, 0.55)).all()


def test_focus_is_around_the_parts_where_they_are_expected():
    """A square of 4 in the exemplar, seen at half the scale from (10, 20) on: 8 pixels wide."""
    masks = np.zeros((1, 64, 64), np.uint8)
    masks[0, 30:34, 40:44] = 1
    start = np.array([[0.5, 0.5], [40 - 0.5 * 10, 30 - 0.5 * 20]])
    where = focus(masks, start, 3 / 64)
    rows, cols = np.nonzero(where)
    assert abs(rows.min() - 17) <= 1
    assert abs(rows.max() - 30) <= 1
    assert abs(cols.min() - 7) <= 1
    assert abs(cols.max() - 20) <= 1
    assert not where[rows.min(), cols.min()]  # round


def test_compared_only_where_asked():
    """Outside of the disc the image is replaced by another one: with a focus it does not matter."""
    moving, masks, _ = sample(SIZE)
    fixed, truth, _ = sample(SIZE, affine)
    spoilt = np.where(
        cv2.dilate(truth[0].astype(np.uint8), np.ones((9, 9))) > 0,
        fixed,
        np.roll(fixed, 17, (0, 1))[::-1],
    )
    images = [prepare(v, SIZE, 0) for v in (spoilt, moving)]
    where = focus(masks[:1].astype(np.uint8), np.array([[1.0, 1.0], [0.0, 0.0]]), 0.02)
    scores = [
        dice(warp_labels(masks[0], register(*images, SETTINGS, None, w).affine), truth[0])
        for w in (where, None)
    ]
    assert scores[0] > 0.95
    assert scores[1] < 0.9


def test_start_is_only_where_it_begins():
    """From two starting points near each other the same place is reached."""
    near = np.array([[1.03, 0.98], [-2.0, 1.0]])
    found, masks, truth, positions, _ = run(affine)
    moving, fixed = (
        prepare(sample(SIZE, f)[0], SIZE, SETTINGS.contrast) for f in (lambda x, y: (x, y), affine)
    )
    other = register(fixed, moving, SETTINGS, near)
    inside = truth.any(0)
    assert np.abs(other.deformable - positions)[inside].mean() < 0.8


def test_two_runs_are_equal():
    a = run(smooth)[0]
    run(affine)
    with ThreadPoolExecutor(2) as pool:  # as in a Dask worker with threads
        b, _ = pool.map(lambda f: run(f)[0], (smooth, affine))
    assert np.array_equal(a.affine, b.affine)
    assert np.array_equal(a.deformable, b.deformable)
    other = run(smooth, ElastixSettings(**{**SETTINGS.to_dict(), 'seed': 1}))[0]
    assert not np.array_equal(a.deformable, other.deformable)


def printed(capfd):
    """What was written to descriptors 1 and 2, C's buffers included."""
    ctypes.CDLL(None).fflush(None)
    return ''.join(capfd.readouterr())


def test_no_file_and_no_print(tmp_path, monkeypatch, capfd):
    """Neither where it runs nor in the temporary folder, whether it works or fails."""
    import SimpleITK as sitk

    for name in ('here', 'temp', 'out'):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    monkeypatch.setenv('TMPDIR', str(tmp_path / 'temp'))
    few = dict(affine_iterations=4, bspline_iterations=4, resolutions=1)
    fixed, moving = (prepare(sample(64, f)[0], 64, 0.0) for f in (smooth, affine))
    printed(capfd)
    for settings in (ElastixSettings(64, **few), ElastixSettings(64, bending=1.0, **few)):
        register(fixed, moving, settings)
    with pytest.raises(RegistrationError):
        register(fixed, np.full_like(moving, np.nan), settings)
    assert printed(capfd) == ''
    assert [path for path in tmp_path.rglob('*') if path.is_file()] == []
    # The same filter with a folder does both, so the lines above can fail.
    monkeypatch.setattr(
        sitk.ElastixImageFilter,
        'RemoveOutputDirectory',
        lambda self: self.SetOutputDirectory(str(tmp_path / 'out')),
    )
    register(fixed, moving, settings)
    assert 'Writing' in printed(capfd)
    assert any((tmp_path / 'out').iterdir())


def test_one_thread():
    """No other thread computes along; and the library's own setting is put back."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    process, thread = time.process_time(), time.thread_time()
    run(smooth)
    process, thread = time.process_time() - process, time.thread_time() - thread
    assert thread > 0.9 * process, (thread, process)
    assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == before


def test_warping_equals_transformix(monkeypatch, capfd):
    """Against Transformix itself, with FinalBSplineInterpolationOrder 0."""
    import SimpleITK as sitk

    kept = []
    plain = sitk.ElastixImageFilter

    class Keeping(plain):
        def Execute(self):
            result = super().Execute()
            kept.append(self.GetTransformParameterMap())
            return result

    monkeypatch.setattr(sitk, 'ElastixImageFilter', Keeping)
    found, masks, *_ = run(smooth)
    transformix = sitk.TransformixImageFilter()
    transformix.RemoveOutputDirectory()
    transformix.LogToConsoleOff()
    maps = kept[0]
    for parameters in maps:
        parameters['FinalBSplineInterpolationOrder'] = ['0']
    transformix.SetTransformParameterMap(maps)
    for part in masks:
        transformix.SetMovingImage(sitk.GetImageFromArray(part.astype(np.float32)))
        transformix.Execute()
        theirs = sitk.GetArrayFromImage(transformix.GetResultImage())
        assert (theirs != warp_labels(part, found.deformable)).mean() < 1e-4  # ties, if any


def test_labels_go_where_the_field_points():
    """A shift by (2, -1): pixel (row 0, column 0) shows row -1, column 2: outside."""
    labels = np.arange(1, 13).reshape(3, 4)
    grid = np.stack(np.meshgrid(np.arange(4.0), np.arange(3.0)), -1)
    warped = warp_labels(labels, grid + (2, -1))
    assert warped.tolist() == [[0, 0, 0, 0], [3, 4, 0, 0], [7, 8, 0, 0]]
    assert warp_labels(np.stack([labels, 2 * labels]), grid + (2, -1))[1, 1, 0] == 6
    nearest = warp_labels(labels, grid + (0.49, -0.49))
    assert nearest.tolist() == labels.tolist()
    image = warp_image(labels.astype(np.float32), grid + (0.5, 0))
    assert image[1, :3].tolist() == [5.5, 6.5, 7.5]


def test_failures_have_a_reason(monkeypatch):
    fixed = prepare(sample(64)[0], 64, 1 / 16)
    few = ElastixSettings(64, affine_iterations=2, bspline_iterations=2, resolutions=1)
    with pytest.raises(RegistrationError, match=r'\w{4}'):
        register(np.full_like(fixed, np.nan), np.full_like(fixed, np.nan), few)
    monkeypatch.setattr(module, '_positions', lambda *_: np.full((64, 64, 2), np.inf))
    with pytest.raises(RegistrationError, match='not finite'):
        register(fixed, fixed, few)
    monkeypatch.undo()
    plain = module._transform

    def fail(sitk, parameters):
        if parameters['Transform'][0] == 'BSplineTransform':
            raise RuntimeError('a\nDescription: splines broke\n')
        return plain(sitk, parameters)

    monkeypatch.setattr(module, '_transform', fail)
    found = register(fixed, fixed, few)
    assert found.deformable is None
    assert found.failure == 'splines broke'
    assert np.isfinite(found.affine).all()
    with pytest.raises(ValueError, match=r'must be \(32, 32\)'):
        register(fixed, fixed, ElastixSettings(32, grid=8.0))


def test_without_the_library_the_fix_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, 'SimpleITK', None)
    with pytest.raises(ModuleNotFoundError, match='pip install --pre SimpleITK-SimpleElastix'):
        module.import_sitk()


def test_defaults_are_elastix_own():
    """Nothing but the seed is changed of Elastix' default parameter maps."""
    for stage in ('affine', 'bspline'):
        assert list(ELASTIX_DEFAULTS.parameters(stage)) == ['RandomSeed']


def test_settings_become_parameters():
    parameters = ElastixSettings(resolutions=3, grid=24.0, bending=0.5).parameters('bspline')
    assert parameters['GridSpacingSchedule'] == [4, 2, 1]
    assert parameters['FinalGridSpacingInPhysicalUnits'] == [24.0]
    assert parameters['Metric'] == [
        'AdvancedNormalizedCorrelation',
        'TransformBendingEnergyPenalty',
    ]
    assert parameters['Metric1Weight'] == [0.5]
    assert 'Registration' not in parameters
    single = ElastixSettings().parameters('bspline')
    assert single['Registration'] == ['MultiResolutionRegistration']
    assert 'FinalGridSpacingInPhysicalUnits' not in ElastixSettings().parameters('affine')


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(size=8), 'size=8'),
        (dict(contrast=2.0), 'contrast=2'),
        (dict(focus=2.0), 'focus=2'),
        (dict(metric='NCC'), "metric='NCC'"),
        (dict(samples=0), 'samples=0'),
        (dict(grid=1.0), 'grid=1'),
        (dict(grid=400.0), 'grid=400'),
        (dict(bending=-1.0), 'bending=-1'),
        (dict(search=-0.1), 'search=-0.1'),
        (dict(affine_iterations=0), 'affine_iterations=0'),
    ],
)
def test_settings_that_elastix_cannot_use(options, said):
    with pytest.raises(ValueError, match=said):
        ElastixSettings(**options)


def test_deformation_is_a_plain_value():
    import pickle

    found = run(
        affine,
        ElastixSettings(SIZE, affine_iterations=1, bspline_iterations=1, resolutions=1, grid=16.0),
    )[0]
    again = pickle.loads(pickle.dumps(found))  # as between processes
    assert isinstance(again, Deformation)
    assert np.array_equal(again.affine, found.affine)
