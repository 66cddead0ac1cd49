"""Labels that are not classes raise an error that names file and label."""

import numpy as np
import pytest

from orl_mm.registry import TRANSFORMS


def check(labels, **options):
    transform = TRANSFORMS.build({'type': 'orl_mm.CheckLabels', 'num_classes': 21, **options})
    return transform(dict(gt_seg_map=labels, seg_map_path='a/masks/2007_000032.png'))


def test_classes_and_ignored_pixels_pass_unchanged():
    labels = np.tile(np.array([*range(21), 255], np.uint8), (3, 1))
    out = check(labels.copy())
    np.testing.assert_array_equal(out['gt_seg_map'], labels)


@pytest.mark.parametrize('wrong', [21, 77, 254])
def test_one_pixel_is_enough(wrong):
    labels = np.zeros((30, 40), np.uint8)
    labels[29, 39] = wrong
    message = rf'2007_000032\.png has the labels \[{wrong}\].*0 to 20, or 255'
    with pytest.raises(ValueError, match=message):
        check(labels)


def test_another_ignored_label():
    labels = np.full((2, 2), 255, np.uint8)
    with pytest.raises(ValueError, match=r'\[255\]'):
        check(labels, ignore_index=77)
    labels[:] = 77
    check(labels, ignore_index=77)


def test_wrong_shape():
    with pytest.raises(ValueError, match=r'2007_000032\.png has the shape \(4, 5, 3\)'):
        check(np.zeros((4, 5, 3), np.uint8))
