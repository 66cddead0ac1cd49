"""Accuracy on real X-rays, and failures that the checks catch."""

from dataclasses import replace

import numpy as np
import pytest

from orl_mm.datasets.chest_xray_parts import ChestXRayParts
from orl_mm.io.part_layouts import read_part
from orl_mm.io.xray import read_xray
from orl_mm.registration.contrast import prepare, to_grey
from orl_mm.registration.elastix import ELASTIX_DEFAULTS
from orl_mm.registration.exemplar import find_exemplar, make_reference
from orl_mm.registration.quality import CONTRAST, Checks, assess, dice
from orl_mm.registration.register import align, register_image

pytest.importorskip('SimpleITK')
PARTS = ('left_lung', 'right_lung', 'heart')


@pytest.fixture(scope='module')
def exemplar(shared_data):
    return find_exemplar(str(shared_data / 'cxr' / 'jsrt'), 'JPCNN001', parts=PARTS)


def read(root, names, parts=PARTS):
    """Grey levels and true masks of some images."""
    dataset = ChestXRayParts(str(root), parts=parts, pipeline=[])
    samples = {s['id']: s for s in map(dataset.get_data_info, range(len(dataset)))}
    for name in names:
        paths = samples[name]['part_paths']
        yield to_grey(read_xray(samples[name]['img_path'])), [read_part(paths[p]) for p in parts]


@pytest.mark.slow
def test_known_failures_are_flagged(exemplar, shared_data):
    """A short run of Elastix' defaults fails on these images; the tuned setting does not."""
    short = replace(
        ELASTIX_DEFAULTS, affine_iterations=128, bspline_iterations=128, samples=1024, grid=32.0
    )
    poor, tuned = make_reference(exemplar, short), make_reference(exemplar)
    names = ('JPCLN154', 'JPCNN024', 'JPCLN042')
    for grey, truth in read(shared_data / 'cxr' / 'jsrt', names):
        fixed = prepare(grey, short.size, short.contrast)
        found = align(fixed, poor.moving, poor.masks, short)
        masks, quality = assess(
            prepare(grey, short.size, CONTRAST), poor.seen, poor.masks, found.deformable
        )
        assert min(dice(a, b) for a, b in zip(masks, truth, strict=True)) < 0.7
        assert Checks().reason(quality, PARTS).startswith('similarity')
        good = register_image(grey, tuned)
        assert good.status == 'deformable'
        assert min(dice(a, b) for a, b in zip(good.masks, truth, strict=True)) > 0.8


@pytest.mark.slow
def test_another_hospital(exemplar, shared_data):
    """Montgomery's images are cut much wider; without the coarse search Dice is about 0.7."""
    reference = make_reference(exemplar)
    names = [f'MCUCXR_{i:04d}_0' for i in (1, 2, 3)]
    scores = []
    for grey, truth in read(shared_data / 'cxr' / 'montgomery', names, PARTS[:2]):
        found = register_image(grey, reference)
        scores.append([dice(a, b) for a, b in zip(found.masks, truth, strict=True)])
    assert np.mean(scores) > 0.9, scores
