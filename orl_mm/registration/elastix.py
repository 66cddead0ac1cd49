"""Registration with Elastix: an affine transform, then B-splines (thesis 3.2.3).

Elastix gets no output folder, so it writes no file and prints nothing. With a folder it writes
``result.0.nii`` there and prints that, whatever ``WriteResultImage`` is.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np

STAGES = ('affine', 'bspline')
METRICS = (
    'AdvancedNormalizedCorrelation',
    'AdvancedMattesMutualInformation',
    'AdvancedMeanSquares',
)


@dataclass(frozen=True)
class ElastixSettings:
    """Parameters of an affine and then a B-spline registration.

    ``None`` leaves a parameter as in Elastix' default parameter maps.

    Args:
        size (int): Side in pixels that both images are resized to.
        contrast (float): Width (sigma) of the neighborhood in which brightness and contrast are
            evened out first, as a share of the side; 0: plain gray levels.
        search (float): Scales from exp(-search) to exp(search), and all shifts, are tried before
            the affine stage; 0: start with equal positions. Beyond 0.6, small structures are
            mistaken for the chest.
        focus (float): With a search, images are compared only within this distance of the parts,
            as a share of the side; 0: everywhere.
        metric (str, optional): Similarity, one of :data:`METRICS`. Elastix' default is mutual
            information.
        bending (float, optional): Weight of the B-spline's bending energy; 0 leaves out the term,
            and with it half of the time. Elastix' default is 1.
        resolutions (int, optional): Levels of the smoothing pyramid of each stage.
        affine_iterations, bspline_iterations (int, optional): At each level.
        samples (int, optional): Random points of an iteration, drawn again in each.
        grid (float, optional): Spacing of the B-spline's control points at the finest level,
            in pixels of ``size``; it doubles at each coarser level.
        seed (int): Of the random points: the same images give the same result.

    Raises:
        ValueError: A value that Elastix cannot use.
    """

    size: int = 256
    contrast: float = 1 / 16
    search: float = 0.55
    focus: float = 0.05
    metric: str | None = 'AdvancedNormalizedCorrelation'
    bending: float | None = 0.0
    resolutions: int | None = 3
    affine_iterations: int | None = 32
    bspline_iterations: int | None = 128
    samples: int | None = 1024
    grid: float | None = 28.0
    seed: int = 0

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float]] = dict(
            size=(16, 4096), contrast=(0, 1), search=(0, 2), focus=(0, 1)
        )
        limits |= dict(grid=(2, self.size), bending=(0, math.inf))
        counts = ('resolutions', 'affine_iterations', 'bspline_iterations', 'samples')
        limits |= dict.fromkeys(counts, (1, math.inf))
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f'{name}={value!r} must be between {low} and {high}')
        if self.metric is not None and self.metric not in METRICS:
            raise ValueError(f'metric={self.metric!r} is not one of {", ".join(METRICS)}')

    def to_dict(self) -> dict:
        """As JSON values."""
        return asdict(self)

    def parameters(self, stage: str) -> dict[str, list | None]:
        """What changes of Elastix' default parameter map; None removes a parameter.

        Args:
            stage (str): ``'affine'`` or ``'bspline'``.
        """
        bspline = stage == 'bspline'
        found: dict[str, list | None] = dict(
            RandomSeed=[self.seed],
            NumberOfResolutions=[self.resolutions],
            NumberOfSpatialSamples=[self.samples],
            MaximumNumberOfIterations=[
                self.bspline_iterations if bspline else self.affine_iterations
            ],
            Metric=[self.metric],
        )
        if bspline:
            found['FinalGridSpacingInPhysicalUnits'] = [self.grid]
            if self.resolutions is not None:
                found['GridSpacingSchedule'] = [2**i for i in reversed(range(self.resolutions))]
            if self.metric is not None or self.bending is not None:
                metric = self.metric or 'AdvancedMattesMutualInformation'
                found['Metric'] = [metric, 'TransformBendingEnergyPenalty']
                found['Metric1Weight'] = [self.bending]
        changes = {name: values for name, values in found.items() if values != [None]}
        if bspline and self.bending == 0:
            changes.update(
                Metric=[metric],
                Registration=['MultiResolutionRegistration'],
                Metric0Weight=None,
                Metric1Weight=None,
            )
        return changes


_UNSET: dict = dict.fromkeys(
    ('metric', 'bending', 'resolutions', 'affine_iterations', 'bspline_iterations')
)
ELASTIX_DEFAULTS = ElastixSettings(
    contrast=0.0, search=0.0, focus=0.0, samples=None, grid=None, **_UNSET
)
"""Elastix' default parameter maps for ``affine`` and ``bspline``, on plain gray levels."""


class RegistrationError(RuntimeError):
    """Elastix failed at the affine stage, or its result is not finite."""


@dataclass(frozen=True)
class Deformation:
    """Where in the exemplar (moving) each pixel of the image (fixed) comes from.

    Convention:
        Positions are (x, y) in pixels of the squashed images, x to the right and y
        downwards; the center of pixel (row i, column j) is (j, i), as in ITK.

    Attributes:
        affine (np.ndarray): (S, S, 2) float64 after the affine stage.
        deformable (np.ndarray, optional): (S, S, 2) float64 after both stages; None if the second
            one failed.
        failure (str): Why it failed.
    """

    affine: np.ndarray
    deformable: np.ndarray | None
    failure: str = ''


def import_sitk():
    """Import SimpleITK with Elastix, an optional requirement; ModuleNotFoundError without it."""
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
    """The library and its version, for provenance."""
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
        start (np.ndarray, optional): Initial fit, see
            :func:`~orl_mm.registration.register.coarse_fit`; default: equal positions.
        where (np.ndarray, optional): (S, S) 0/1, where in ``fixed`` the images are compared.

    Raises:
        RegistrationError: Elastix diverged or failed.
    """
    shape = (settings.size,) * 2
    if fixed.shape != shape or moving.shape != shape:
        raise ValueError(f'images must be {shape}, got {fixed.shape} and {moving.shape}')
    start = np.array([[1.0, 1.0], [0.0, 0.0]]) if start is None else np.asarray(start, np.float64)
    try:
        affine, deformable = _run(fixed, moving, settings, start, where, STAGES)
        return Deformation(affine, deformable)
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
    frame = _image(sitk, moving)  # initial fit: index = scale * point + shift
    frame.SetSpacing((1 / scale).tolist())
    frame.SetOrigin((-shift / scale).tolist())
    elastix.SetMovingImage(frame)
    maps = sitk.VectorOfParameterMap()
    for stage in stages:
        parameters = _parameter_map(sitk, settings, stage)
        if where is not None:  # eroded for the pyramid's smoothing, little of it would remain
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
    """The informative sentence of an ITK exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(('Description:', 'ITK ERROR:'))]
    text = (named or lines or ['no reason given'])[-1].removeprefix('Description:').strip()
    if text.startswith('Internal elastix error'):  # details would be in its log, which is off
        return 'Elastix failed, as it does when too few of its samples overlap'
    return text
