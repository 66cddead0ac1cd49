"""Folding by hand, and against Transformix."""

import numpy as np
import pytest

from orl_mm.registration.quality import folded_share, jacobian_determinant


def grid(height, width):
    return np.stack(np.meshgrid(np.arange(width, dtype=float), np.arange(height)), -1)


def test_determinant_of_an_affine_map():
    """x' = 2x + y, y' = 0.5x + 3y: 2 * 3 - 1 * 0.5, everywhere, the border included."""
    x, y = grid(5, 7).transpose(2, 0, 1)
    field = np.stack([2 * x + y + 4, 0.5 * x + 3 * y - 1], -1)
    assert np.allclose(jacobian_determinant(field), 5.5)


def test_identity_keeps_areas_and_a_mirror_folds_all():
    assert np.allclose(jacobian_determinant(grid(4, 4)), 1)
    assert folded_share(grid(4, 4)) == 0
    assert folded_share(grid(4, 4) * (-1, 1)) == 1


def test_a_strip_that_runs_backwards():
    """x' rises to 3, falls to 1 and rises again: by central differences columns 4 and 5 fall."""
    x = np.array([0, 1, 2, 3, 3, 2, 1, 1, 2, 3], float)
    field = grid(6, 10)
    field[..., 0] = x
    slope = np.gradient(x)  # 1 1 1 .5 -.5 -1 -.5 .5 1 1
    assert np.allclose(jacobian_determinant(field), slope)
    assert folded_share(field) == pytest.approx(0.3)


def test_nan_counts_as_folded():
    field = grid(4, 4)
    field[0, 0] = np.nan
    assert folded_share(field) == pytest.approx(3 / 16)  # itself and its neighbors


@pytest.mark.parametrize('shape', [(4, 4), (4, 4, 3), (1, 4, 2)])
def test_wrong_shapes(shape):
    with pytest.raises(ValueError, match='positions must be'):
        jacobian_determinant(np.zeros(shape))


def test_equals_transformix(capfd):
    """A B-spline whose control points were moved by hand, one of them so far that it folds."""
    sitk = pytest.importorskip('SimpleITK')
    size = 64
    transform = sitk.BSplineTransformInitializer(sitk.Image(size, size, sitk.sitkFloat32), [6, 6])
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1.0, len(transform.GetParameters()))
    values[len(values) // 4] = 30
    transform.SetParameters(values.tolist())
    field = sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat64, (size, size))
    theirs = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))
    positions = sitk.GetArrayFromImage(field) + grid(size, size)
    ours = jacobian_determinant(positions)
    assert np.allclose(ours[1:-1, 1:-1], theirs[1:-1, 1:-1], atol=1e-6)
    assert 0 < folded_share(positions) < 0.5
