"""Registration with Elastix: an affine transform, then B-splines (thesis 3.2.3).

Everything lives in memory: Elastix is given no folder, so it writes no file and
prints nothing (with one, it writes ``result.0.nii`` there and says so, whatever
``WriteResultImage`` asks for).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from orl_mm.registration.elastix_settings import ElastixSettings

STAGES = ('affine', 'bspline')


class RegistrationError(RuntimeError):
    """Elastix gave up already at the affine stage, or its result is not finite."""


@dataclass(frozen=True)
class Deformation:
    """Where in the exemplar (moving) each pixel of the image (fixed) comes from.

    Convention:
        Positions are (x, y) in pixels of the squashed images, x to the right and y
        downwards; the centre of pixel (row i, column j) is (j, i), as in ITK.

    Attributes:
        affine (np.ndarray): (S, S, 2) float64 after the affine stage.
        deformable (np.ndarray, optional): (S, S, 2) float64 after both; None where the second
            one failed.
        failure (str): Why it did.
    """

    affine: np.ndarray
    deformable: np.ndarray | None
    failure: str = ''


def import_sitk():
    """SimpleITK with Elastix.

    Raises:
        ModuleNotFoundError: Neither is part of what this project needs by default.
    """
    try:
        import SimpleITK as sitk

        if hasattr(sitk, 'ElastixImageFilter'):
            return sitk
    except ModuleNotFoundError:
        pass
    raise ModuleNotFoundError(
        'registration needs SimpleITK with Elastix; type: '
        "pip install --pre SimpleITK-SimpleElastix (or '.[medical]')"
    )


def elastix_version() -> str:
    """The library whose results these are."""
    sitk = import_sitk()
    return f'SimpleITK {sitk.Version_VersionString()} with Elastix'


def register(
    fixed: np.ndarray,
    moving: np.ndarray,
    settings: ElastixSettings,
    start: np.ndarray | None = None,
    where: np.ndarray | None = None,
) -> Deformation:
    """Register ``moving`` to ``fixed``, in one thread.

    Args:
        fixed, moving (np.ndarray): (S, S) float32, prepared alike.
        settings (ElastixSettings): Its ``size`` is S.
        start (np.ndarray, optional): Where to begin, see
            :func:`~orl_mm.registration.search.coarse_fit`; by default with equal positions.
        where (np.ndarray, optional): (S, S) 0/1, where in ``fixed`` the images are compared.

    Raises:
        RegistrationError: Elastix diverged or gave up.
    """
    shape = (settings.size,) * 2
    if fixed.shape != shape or moving.shape != shape:
        raise ValueError(f'images must be {shape}, got {fixed.shape} and {moving.shape}')
    start = np.array([[1.0, 1.0], [0.0, 0.0]]) if start is None else np.asarray(start, np.float64)
    try:
        return Deformation(*_run(fixed, moving, settings, start, where, STAGES))
    except RegistrationError as error:
        (affine,) = _run(fixed, moving, settings, start, where, STAGES[:1])
        return Deformation(affine, None, str(error))


def _run(fixed, moving, settings, start, where, stages) -> list[np.ndarray]:
    """Positions (S, S, 2) after each of the stages."""
    sitk = import_sitk()
    elastix = sitk.ElastixImageFilter()
    elastix.RemoveOutputDirectory()
    elastix.LogToConsoleOff()
    elastix.LogToFileOff()
    elastix.SetNumberOfThreads(1)
    elastix.SetFixedImage(_image(sitk, fixed))
    if where is not None:
        elastix.SetFixedMask(sitk.GetImageFromArray(np.ascontiguousarray(where, np.uint8)))
    scale, shift = start
    frame = _image(sitk, moving)  # begins in place: index = scale * point + shift
    frame.SetSpacing((1 / scale).tolist())
    frame.SetOrigin((-shift / scale).tolist())
    elastix.SetMovingImage(frame)
    maps = sitk.VectorOfParameterMap()
    for stage in stages:
        parameters = _parameter_map(sitk, settings, stage)
        if where is not None:  # erosion by the pyramid's smoothing would leave little of it
            parameters['ErodeFixedMask'] = ['false']
        maps.append(parameters)
    elastix.SetParameterMap(maps)
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        elastix.Execute()
        found = [_transform(sitk, m) for m in elastix.GetTransformParameterMap()]
        # A composite transform applies the last one first: the affine one.
        chains = [sitk.CompositeTransform(found[i::-1]) for i in range(len(found))]
        positions = [_positions(sitk, t, settings.size) * scale + shift for t in chains]
    except RuntimeError as error:
        raise RegistrationError(_reason(error)) from error
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    if not all(np.isfinite(p).all() for p in positions):
        raise RegistrationError('the transform is not finite')
    return positions


def warp_labels(labels: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Labels of the exemplar carried to the image by nearest neighbour, 0 from outside.

    The same as Transformix with ``FinalBSplineInterpolationOrder`` 0.

    Args:
        labels (np.ndarray): (S, S), or (R, S, S), of any type.
        positions (np.ndarray): (S, S, 2), see :class:`Deformation`.
    """
    height, width = labels.shape[-2:]
    x, y = (np.floor(positions[..., i] + 0.5) for i in range(2))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = (np.where(inside, v, 0).astype(np.intp) for v in (x, y))
    return np.where(inside, labels[..., y, x], 0).astype(labels.dtype)


def warp_image(image: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """An image (S, S) float32 of the exemplar's frame carried over bilinearly; 0 from outside."""
    x, y = np.ascontiguousarray(positions.transpose(2, 0, 1), np.float32)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _image(sitk, array: np.ndarray):
    return sitk.GetImageFromArray(np.ascontiguousarray(array, np.float32))


def _parameter_map(sitk, settings: ElastixSettings, stage: str):
    parameters = sitk.GetDefaultParameterMap(stage)
    for name, values in settings.parameters(stage).items():
        if values is not None:
            parameters[name] = [str(value) for value in values]
        elif name in parameters:
            del parameters[name]
    return parameters


def _transform(sitk, parameters):
    """An Elastix parameter map as a SimpleITK transform."""

    def numbers(name: str) -> tuple[float, ...]:
        return tuple(float(value) for value in parameters[name])

    values = numbers('TransformParameters')
    if parameters['Transform'][0] == 'AffineTransform':
        affine = sitk.AffineTransform(2)
        affine.SetCenter(numbers('CenterOfRotationPoint'))
        affine.SetParameters(values)
        return affine
    width, height = (int(value) for value in parameters['GridSize'])
    coefficients = []
    for axis in np.reshape(values, (2, height, width)):
        grid = sitk.GetImageFromArray(axis)
        grid.SetOrigin(numbers('GridOrigin'))
        grid.SetSpacing(numbers('GridSpacing'))
        grid.SetDirection(numbers('GridDirection'))
        coefficients.append(grid)
    return sitk.BSplineTransform(coefficients, 3)


def _positions(sitk, transform, size: int) -> np.ndarray:
    field = sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat64, (size, size))
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1)
    return sitk.GetArrayViewFromImage(field) + grid


def _reason(error: RuntimeError) -> str:
    """The sentence of an ITK exception that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(('Description:', 'ITK ERROR:'))]
    text = (said or lines or ['no reason given'])[-1].removeprefix('Description:').strip()
    if text.startswith('Internal elastix error'):  # its log, which is off, would say more
        return 'Elastix gave up, as it does when too few of its samples overlap'
    return text
