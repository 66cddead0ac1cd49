"""What Elastix is told: the few parameters that matter here, as one value."""

from dataclasses import asdict, dataclass

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
