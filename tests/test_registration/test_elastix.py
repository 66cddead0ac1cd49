"""Registration by Elastix recovers known deformations, writes no files and is deterministic."""

import ctypes
import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest

sitk = pytest.importorskip('SimpleITK')

from orl_mm.registration import elastix as module  # noqa: E402
from orl_mm.registration.contrast import prepare, warp_image, warp_labels  # noqa: E402
from orl_mm.registration.elastix import (  # noqa: E402
    ELASTIX_DEFAULTS,
    ElastixSettings,
    RegistrationError,
    register,  # noqa: E402
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


def overlaps(masks, truth):
    return [dice(a, b) for a, b in zip(masks, truth, strict=True)]


@pytest.mark.parametrize(
    ('deform', 'stage'), [(affine, 'affine'), (affine, 'deformable'), (smooth, 'deformable')]
)
def test_a_known_deformation_is_found(deform, stage):
    """Warped masks overlap with the true ones; points inside the parts map to their origin."""
    found, masks, truth, positions, _ = run(deform)
    got = getattr(found, stage)
    before, after = overlaps(masks, truth), overlaps(warp_labels(masks, got), truth)
    assert min(after) > max(0.95, *before), (before, after)
    error = np.hypot(*(got - positions).transpose(2, 0, 1))[truth.any(0)]
    assert error.mean() < 0.8, error.mean()


def test_affine_stage_is_affine():
    found, *_ = run(smooth)
    assert np.abs(np.diff(found.affine, 2, axis=0)).max() < 1e-9
    assert np.abs(np.diff(found.affine, 2, axis=1)).max() < 1e-9
    assert np.abs(np.diff(found.deformable, 2, axis=0)).max() > 1e-3


def test_coarse_search_finds_what_descent_misses():
    """The true scales are 0.70 and 0.75."""
    lost, masks, truth, *_ = run(wide)
    found, _, _, positions, start = run(wide, search=True)
    assert np.allclose(start[0], [0.7, 0.75], rtol=0.1)
    assert start[1, 0] == pytest.approx(positions[0, 0, 0], abs=0.05 * SIZE)
    assert min(overlaps(warp_labels(masks, found.deformable), truth)) > 0.95
    assert min(overlaps(warp_labels(masks, lost.deformable), truth)) < 0.8


def test_coarse_search_of_an_exact_fit_and_of_a_constant_image():
    grey, masks, _ = sample(SIZE)
    image = prepare(grey, SIZE, 1 / 16)
    assert coarse_fit(image, image, masks, 0.55) == pytest.approx(np.array([[1, 1], [0, 0]]))
    assert np.isfinite(coarse_fit(np.zeros_like(image), image, masks, 0.55)).all()


def test_focus_surrounds_the_expected_parts():
    """A square of 4 in the exemplar, seen at half the scale from (10, 20) on: 8 pixels wide."""
    masks = np.zeros((1, 64, 64), np.uint8)
    masks[0, 30:34, 40:44] = 1
    start = np.array([[0.5, 0.5], [40 - 0.5 * 10, 30 - 0.5 * 20]])
    where = focus(masks, start, 3 / 64)
    rows, cols = np.nonzero(where)
    box = [rows.min(), rows.max(), cols.min(), cols.max()]
    assert box == pytest.approx([17, 30, 7, 20], abs=1)
    assert not where[rows.min(), cols.min()]  # round


def test_images_are_compared_inside_the_focus():
    """With a focus on the disc, another image outside of it does not matter."""
    moving, masks, _ = sample(SIZE)
    fixed, truth, _ = sample(SIZE, affine)
    near = cv2.dilate(truth[0].astype(np.uint8), np.ones((9, 9))) > 0
    spoilt = np.where(near, fixed, np.roll(fixed, 17, (0, 1))[::-1])
    images = [prepare(v, SIZE, 0) for v in (spoilt, moving)]
    where = focus(masks[:1].astype(np.uint8), np.array([[1.0, 1.0], [0.0, 0.0]]), 0.02)
    fields = [register(*images, SETTINGS, None, w).affine for w in (where, None)]
    focused, plain = (dice(warp_labels(masks[0], field), truth[0]) for field in fields)
    assert focused > 0.95
    assert plain < 0.9


def test_result_does_not_depend_on_a_nearby_start():
    near = np.array([[1.03, 0.98], [-2.0, 1.0]])
    moving, (fixed, truth, positions) = sample(SIZE)[0], sample(SIZE, affine)
    images = (prepare(v, SIZE, SETTINGS.contrast) for v in (fixed, moving))
    found = register(*images, SETTINGS, near)
    assert np.abs(found.deformable - positions)[truth.any(0)].mean() < 0.8


def test_two_runs_are_equal():
    a = run(smooth)[0]
    run(affine)
    with ThreadPoolExecutor(2) as pool:  # as in a Dask worker with threads
        b, _ = pool.map(lambda f: run(f)[0], (smooth, affine))
    assert np.array_equal(a.affine, b.affine)
    assert np.array_equal(a.deformable, b.deformable)
    other = run(smooth, replace(SETTINGS, seed=1))[0]
    assert not np.array_equal(a.deformable, other.deformable)
    again = pickle.loads(pickle.dumps(a))  # as between processes
    assert np.array_equal(again.affine, a.affine)


def printed(capfd):
    """What was written to descriptors 1 and 2, C's buffers included."""
    ctypes.CDLL(None).fflush(None)
    return ''.join(capfd.readouterr())


def test_no_file_and_no_print(tmp_path, monkeypatch, capfd):
    """Neither in the working nor in the temporary folder, with and without a failure."""
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
    keep = lambda self: self.SetOutputDirectory(str(tmp_path / 'out'))  # noqa: E731
    monkeypatch.setattr(sitk.ElastixImageFilter, 'RemoveOutputDirectory', keep)
    register(fixed, moving, settings)
    assert 'Writing' in printed(capfd)
    assert any((tmp_path / 'out').iterdir())


def test_one_thread():
    """Only the calling thread computes, and the library's own setting is restored."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    process, thread = time.process_time(), time.thread_time()
    run(smooth)
    process, thread = time.process_time() - process, time.thread_time() - thread
    assert thread > 0.9 * process, (thread, process)
    assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == before


def test_warping_equals_transformix(monkeypatch):
    """With FinalBSplineInterpolationOrder 0."""
    kept = []

    class Keeping(sitk.ElastixImageFilter):
        def Execute(self):
            super().Execute()
            kept.append(self.GetTransformParameterMap())

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
    with monkeypatch.context() as patch:
        patch.setattr(module, '_positions', lambda *_: np.full((64, 64, 2), np.inf))
        with pytest.raises(RegistrationError, match='not finite'):
            register(fixed, fixed, few)
    plain = module._transform

    def fail(sitk, parameters):
        if parameters['Transform'][0] == 'BSplineTransform':
            raise RuntimeError('a\nDescription: splines broke\n')
        return plain(sitk, parameters)

    monkeypatch.setattr(module, '_transform', fail)
    found = register(fixed, fixed, few)
    assert (found.deformable, found.failure) == (None, 'splines broke')
    assert np.isfinite(found.affine).all()
    with pytest.raises(ValueError, match=r'must be \(32, 32\)'):
        register(fixed, fixed, ElastixSettings(32, grid=8.0))


def test_error_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, 'SimpleITK', None)
    with pytest.raises(ModuleNotFoundError, match='pip install --pre SimpleITK-SimpleElastix'):
        module.import_sitk()


def test_settings_become_parameters():
    """ELASTIX_DEFAULTS changes only the seed of Elastix' default parameter maps."""
    for stage in ('affine', 'bspline'):
        assert list(ELASTIX_DEFAULTS.parameters(stage)) == ['RandomSeed']
    parameters = ElastixSettings(resolutions=3, grid=24.0, bending=0.5).parameters('bspline')
    assert parameters['GridSpacingSchedule'] == [4, 2, 1]
    assert parameters['FinalGridSpacingInPhysicalUnits'] == [24.0]
    metrics = ['AdvancedNormalizedCorrelation', 'TransformBendingEnergyPenalty']
    assert parameters['Metric'] == metrics
    assert parameters['Metric1Weight'] == [0.5]
    assert 'Registration' not in parameters
    single = ElastixSettings().parameters('bspline')
    assert single['Registration'] == ['MultiResolutionRegistration']
    assert 'FinalGridSpacingInPhysicalUnits' not in ElastixSettings().parameters('affine')


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('size', 8),
        ('contrast', 2.0),
        ('focus', 2.0),
        ('metric', 'NCC'),
        ('samples', 0),
        ('grid', 1.0),
        ('grid', 400.0),
        ('bending', -1.0),
        ('search', -0.1),
        ('affine_iterations', 0),
    ],
)
def test_settings_out_of_range(name, value):
    with pytest.raises(ValueError, match=f'{name}={value!r}'):
        ElastixSettings(**{name: value})
