"""Registration with Elastix: an affine transform, then B-splines (thesis 3.2.3).

Everything lives in memory: Elastix is given no folder, so it writes no file and
prints nothing (with one, it writes ``result.0.nii`` there and says so, whatever
``WriteResultImage`` asks for).
"""

from dataclasses import asdict, dataclass

import cv2
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

    ``None`` leaves a parameter as Elastix' own default parameter maps have it, so
    :data:`ELASTIX_DEFAULTS` is what its documentation calls the default.

    Args:
        size (int): Side in pixels that both images are squashed to.
        contrast (float): Width (sigma) of the neighbourhood in which brightness and contrast
            are evened out first, as a share of the side; 0 takes grey levels as they are.
        search (float): Scales from exp(-search) to exp(search), and all shifts, are tried
            before the affine stage; 0 begins with equal positions. Beyond 0.6 small things
            are mistaken for the chest.
        focus (float): With a search: images are compared around the parts only, so far, as
            a share of the side; 0 everywhere.
        metric (str, optional): Similarity, one of :data:`METRICS`. The default is mutual
            information.
        bending (float, optional): Weight of the B-spline's bending energy beside it; 0
            leaves the term, and half of the time, out. Elastix' default is 1.
        resolutions (int, optional): Levels of the smoothing pyramid of each stage.
        affine_iterations, bspline_iterations (int, optional): At each level.
        samples (int, optional): Random points of an iteration, new ones each time.
        grid (float, optional): Spacing of the B-spline's control points at the finest level,
            in pixels of ``size``; it doubles from each level to the coarser one.
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
        if not 16 <= self.size <= 4096:
            raise ValueError(f'size={self.size} must be 16 to 4096 pixels')
        if not 0 <= self.contrast <= 1:
            raise ValueError(f'contrast={self.contrast} is a share of the side, in [0, 1]')
        if not 0 <= self.search <= 2:
            raise ValueError(f'search={self.search} is the logarithm of a scale, in [0, 2]')
        if not 0 <= self.focus <= 1:
            raise ValueError(f'focus={self.focus} is a share of the side, in [0, 1]')
        if self.metric is not None and self.metric not in METRICS:
            raise ValueError(f'metric={self.metric!r} is not one of {", ".join(METRICS)}')
        for name in ('resolutions', 'affine_iterations', 'bspline_iterations', 'samples'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f'{name}={value} must be at least 1')
        if self.grid is not None and not 2 <= self.grid <= self.size:
            raise ValueError(f'grid={self.grid} must be 2 to size={self.size} pixels')
        if self.bending is not None and self.bending < 0:
            raise ValueError(f'bending={self.bending} must not be negative')

    def to_dict(self) -> dict:
        """As JSON values."""
        return asdict(self)

    def parameters(self, stage: str) -> dict[str, list | None]:
        """What changes of Elastix' default parameter map; None removes a parameter.

        Args:
            stage (str): ``'affine'`` or ``'bspline'``.
        """
        bspline = stage == 'bspline'
        changes: dict[str, list | None] = dict(RandomSeed=[self.seed])
        iterations = self.bspline_iterations if bspline else self.affine_iterations
        for name, value in (
            ('NumberOfResolutions', self.resolutions),
            ('MaximumNumberOfIterations', iterations),
            ('NumberOfSpatialSamples', self.samples),
        ):
            if value is not None:
                changes[name] = [value]
        if self.resolutions is not None and bspline:
            changes['GridSpacingSchedule'] = [2**i for i in reversed(range(self.resolutions))]
        if self.grid is not None and bspline:
            changes['FinalGridSpacingInPhysicalUnits'] = [self.grid]
        if self.metric is not None:
            changes['Metric'] = [self.metric]
        if bspline and (self.metric is not None or self.bending is not None):
            metric = self.metric or 'AdvancedMattesMutualInformation'
            if self.bending == 0:
                changes.update(
                    Metric=[metric],
                    Registration=['MultiResolutionRegistration'],
                    Metric0Weight=None,
                    Metric1Weight=None,
                )
            else:
                changes['Metric'] = [metric, 'TransformBendingEnergyPenalty']
                if self.bending is not None:
                    changes['Metric1Weight'] = [self.bending]
        return changes


ELASTIX_DEFAULTS = ElastixSettings(
    contrast=0.0,
    search=0.0,
    focus=0.0,
    metric=None,
    bending=None,
    resolutions=None,
    affine_iterations=None,
    bspline_iterations=None,
    samples=None,
    grid=None,
)
"""Elastix' default parameter maps for ``affine`` and ``bspline``, on plain grey levels."""


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
            :func:`~orl_mm.registration.register.coarse_fit`; by default with equal positions.
        where (np.ndarray, optional): (S, S) 0/1, where in ``fixed`` the images are compared.

    Raises:
        RegistrationError: Elastix diverged or gave up.
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
