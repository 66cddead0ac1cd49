"""The settings of registration that are compared: name -> ElastixSettings."""

from dataclasses import replace

from orl_mm.registration.elastix_settings import ELASTIX_DEFAULTS, ElastixSettings

DEFAULTS, TUNED = 'Elastix defaults', 'tuned'
MAIN: dict[str, ElastixSettings] = {DEFAULTS: ELASTIX_DEFAULTS, TUNED: ElastixSettings()}

_SHORT = replace(
    ELASTIX_DEFAULTS, affine_iterations=128, bspline_iterations=128, samples=1024, grid=32.0
)
_NO_BENDING = replace(ElastixSettings(), search=0.0, focus=0.0, affine_iterations=128)


def curve() -> dict[str, ElastixSettings]:
    """From Elastix' defaults step by step to the tuned setting, then what lies around it."""
    tuned = ElastixSettings()
    steps = {
        DEFAULTS: ELASTIX_DEFAULTS,
        'defaults, 128 iterations, 1,024 samples, grid 32': _SHORT,
        'the same without bending energy': replace(_SHORT, bending=0.0),
        'the same with correlation': replace(
            _NO_BENDING, contrast=0.0, resolutions=None, grid=32.0
        ),
        'the same with even contrast': replace(_NO_BENDING, resolutions=None, grid=32.0),
        'the same with the coarse search': replace(tuned, focus=0.0, grid=32.0),
        TUNED: tuned,
    }
    for name, change in {
        '16 iterations': dict(affine_iterations=16, bspline_iterations=16),
        '32 iterations': dict(bspline_iterations=32),
        '64 iterations': dict(bspline_iterations=64),
        '256 iterations': dict(bspline_iterations=256),
        '512 samples': dict(samples=512),
        '2,048 samples': dict(samples=2048),
        'grid 20': dict(grid=20.0),
        'grid 24': dict(grid=24.0),
        'grid 48': dict(grid=48.0),
        '2 resolutions': dict(resolutions=2),
        '4 resolutions': dict(resolutions=4),
        'contrast 1/32': dict(contrast=1 / 32),
        'contrast 1/8': dict(contrast=1 / 8),
        'mutual information': dict(metric='AdvancedMattesMutualInformation'),
        'bending energy': dict(bending=0.01),
        'side 128': dict(size=128, grid=14.0),
    }.items():
        steps[f'tuned, {name}'] = replace(tuned, **change)
    return steps


def quick() -> dict[str, ElastixSettings]:
    """Tiny ones, for phantoms of 64 pixels."""
    few = dict(
        size=64, affine_iterations=8, bspline_iterations=8, resolutions=2, samples=256, grid=16.0
    )
    return {DEFAULTS: replace(ELASTIX_DEFAULTS, **few), TUNED: replace(ElastixSettings(), **few)}
