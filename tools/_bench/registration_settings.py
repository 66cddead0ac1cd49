"""The settings of registration that are compared: name -> ElastixSettings."""

from dataclasses import replace
from typing import Dict

from orl_mm.registration.elastix_settings import ELASTIX_DEFAULTS, ElastixSettings

DEFAULTS, TUNED = 'Elastix defaults', 'tuned'
MAIN: Dict[str, ElastixSettings] = {DEFAULTS: ELASTIX_DEFAULTS, TUNED: ElastixSettings()}

_SHORT = replace(ELASTIX_DEFAULTS, affine_iterations=128, bspline_iterations=128, samples=1024,
                 grid=32.)
_NO_BENDING = replace(ElastixSettings(), search=0., focus=0., affine_iterations=128)


def curve() -> Dict[str, ElastixSettings]:
    """From Elastix' defaults step by step to the tuned setting, then what lies around it."""
    tuned = ElastixSettings()
    steps = {
        DEFAULTS: ELASTIX_DEFAULTS,
        'defaults, 128 iterations, 1,024 samples, grid 32': _SHORT,
        'the same without bending energy': replace(_SHORT, bending=0.),
        'the same with correlation': replace(_NO_BENDING, contrast=0., resolutions=None, grid=32.),
        'the same with even contrast': replace(_NO_BENDING, resolutions=None, grid=32.),
        'the same with the coarse search': replace(tuned, focus=0., grid=32.),
        TUNED: tuned,
    }
    for name, change in {
            '16 iterations': dict(affine_iterations=16, bspline_iterations=16),
            '32 iterations': dict(bspline_iterations=32),
            '64 iterations': dict(bspline_iterations=64),
            '256 iterations': dict(bspline_iterations=256),
            '512 samples': dict(samples=512), '2,048 samples': dict(samples=2048),
            'grid 20': dict(grid=20.), 'grid 24': dict(grid=24.), 'grid 48': dict(grid=48.),
            '2 resolutions': dict(resolutions=2), '4 resolutions': dict(resolutions=4),
            'contrast 1/32': dict(contrast=1 / 32), 'contrast 1/8': dict(contrast=1 / 8),
            'mutual information': dict(metric='AdvancedMattesMutualInformation'),
            'bending energy': dict(bending=.01), 'side 128': dict(size=128, grid=14.)}.items():
        steps[f'tuned, {name}'] = replace(tuned, **change)
    return steps


def quick() -> Dict[str, ElastixSettings]:
    """Tiny ones, for phantoms of 64 pixels."""
    few = dict(size=64, affine_iterations=8, bspline_iterations=8, resolutions=2, samples=256,
               grid=16.)
    return {DEFAULTS: replace(ELASTIX_DEFAULTS, **few), TUNED: replace(ElastixSettings(), **few)}
