"""Samples for drawing: the same ones each time, and whole images out of any pipeline."""

import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image

from orl_mm.visualization.samples import (
    LARGEST,
    keep_whole,
    load_samples,
    spread_indices,
    with_whole_image,
)


def test_with_whole_image_packs_image_template_and_geometry(tmp_path):
    init_default_scope('mmpretrain')
    red = np.zeros((40, 60, 3), np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(tmp_path / 'a.png')
    view = [dict(type='RandomResizedCrop', scale=16), dict(type='RandomFlip', prob=0.0)]
    views = dict(num_views=[2], transforms=[view], template_size=4)
    pipeline = [
        dict(type='orl_mm.LoadImage'),
        dict(type='orl_mm.RegisteredTemplate', source='cxr_triangles', size=32),
        dict(type='orl_mm.MultiViewWithGeometry', **views),
        dict(type='PackInputs', algorithm_keys=('template',), meta_keys=('parts',)),
    ]
    before = [dict(step) for step in pipeline]
    packed = Compose(with_whole_image(pipeline))(dict(img_path=str(tmp_path / 'a.png')))
    sample = packed['data_samples']
    assert (sample.whole_image == red).all()  # RGB
    assert (sample.whole_template.shape, sample.template.shape) == ((3, 32, 32), (2, 3, 4, 4))
    assert (sample.views.shape, sample.ori_shape) == ((2, 5), (40, 60))
    assert sample.parts == ('left_lung', 'right_lung', 'heart')
    assert pipeline == before


def test_large_images_are_kept_small():
    kept = keep_whole(dict(img=np.zeros((2 * LARGEST, LARGEST, 3), np.uint8)))['whole_image']
    assert kept.shape == (LARGEST, LARGEST // 2, 3)


def test_with_whole_image_rejects_a_pipeline_without_an_image():
    with pytest.raises(ValueError, match=r"\['PackInputs'\] has none of"):
        with_whole_image([dict(type='PackInputs')])


def test_indices_are_spread_evenly():
    assert spread_indices(10, 4) == [0, 2, 5, 7]
    assert spread_indices(3, 8) == [0, 1, 2]


def test_samples_are_reproducible_and_do_not_change_the_generators():
    class Draws:
        def __len__(self):
            return 9

        def __getitem__(self, index):
            return index, np.random.rand()

    np.random.seed(5)
    first = load_samples(Draws(), [3, 0], list, seed=1)
    assert first[0][1] != first[1][1]  # each sample draws for itself
    after = np.random.rand()
    np.random.seed(5)
    assert np.random.rand() == after
    assert load_samples(Draws(), [0, 3], list, seed=1) == first[::-1]
    assert load_samples(Draws(), [3, 0], list, seed=2) != first
    with pytest.raises(ValueError, match=r'indices \[9\] lie outside .* 9 images'):
        load_samples(Draws(), [0, 9], list)
