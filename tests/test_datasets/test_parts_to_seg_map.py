"""Masks of parts to one label map: which pixel has which label."""

import numpy as np
import pytest
import torch

from orl_mm.datasets.transforms import PartsToSegMap


def sample(height=4, width=4, parts=('a', 'b'), shape=None):
    masks = torch.zeros(len(parts), height, width, dtype=torch.uint8)
    masks[0, :, : width // 2] = 1
    if len(parts) > 1:
        masks[1, : height // 2] = 1
    shapes = dict(img_shape=(1, 1), ori_shape=shape or (height, width))
    return dict(img_path='x.png', part_masks=masks, parts=parts, **shapes)


@pytest.mark.parametrize('order', [('a', 'b'), ('b', 'a')])
def test_labels_count_from_one_and_the_last_part_is_in_front(order):
    results = PartsToSegMap(order)(sample())
    labels = results['gt_seg_map']
    a, b = order.index('a') + 1, order.index('b') + 1
    assert labels.dtype == np.uint8
    assert results['seg_fields'] == ['gt_seg_map']
    # Upper left both parts: the one named last.
    expected = np.kron([[2, b], [a, 0]], np.ones((2, 2)))
    assert np.array_equal(labels, expected)


def test_labels_are_found_by_name_and_others_are_background():
    labels = PartsToSegMap(['b'])(sample())['gt_seg_map']
    assert (labels[:2] == 1).all()
    assert (labels[2:] == 0).all()


def test_masks_of_another_resolution_cover_the_same_area():
    """Each pixel of a 8 x 12 image has the label under its center in a map of 4 x 4."""
    results = sample(shape=(8, 12))
    results['part_masks'] = torch.zeros(1, 4, 4, dtype=torch.uint8)
    results['part_masks'][0, 1, 2] = 1
    results['parts'] = ('a',)
    labels = PartsToSegMap(['a'])(results)['gt_seg_map']
    y, x = (np.arange(8) + 0.5) / 8 * 4, (np.arange(12) + 0.5) / 12 * 4
    expected = ((y >= 1) & (y < 2))[:, None] & ((x >= 2) & (x < 3))[None]
    assert (labels == expected).all()


def test_an_image_without_a_part_is_an_error():
    with pytest.raises(ValueError, match=r"x.png has masks of \['a'\] and lacks \['heart'\]"):
        PartsToSegMap(['a', 'heart'])(sample(parts=('a',)))
