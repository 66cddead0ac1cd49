"""Wrong arguments of every transform raise an error that names them."""

import pytest
from mmengine.registry import init_default_scope

from orl_mm.registry import TRANSFORMS

FLIP = dict(type='RandomFlip', prob=1.0)
RANGE = 'ratio_range=.*smallest, largest'


def views(*first):
    return dict(transforms=[list(first), []])


@pytest.mark.parametrize(
    ('kind', 'options', 'message'),
    [
        ('LoadImage', dict(background=256), 'background'),
        ('LoadImage', dict(background=-1), 'background'),
        ('LoadImage', dict(max_bad=1.5), 'max_bad'),
        ('LoadXray', dict(window='wide'), 'window='),
        ('LoadXray', dict(window=(5, 5)), 'window='),
        ('LoadXray', dict(window=(9, 1)), 'window='),
        ('LoadXray', dict(window=(1, 2, 3)), 'window='),
        ('LoadParts', dict(empty='keep'), 'empty'),
        ('LoadParts', dict(aspect_tolerance=-1), 'aspect_tolerance'),
        ('CheckLabels', dict(num_classes=0), 'num_classes=0'),
        ('PartsToSegMap', dict(parts=()), 'different names'),
        ('PartsToSegMap', dict(parts='heart'), 'different names'),
        ('PartsToSegMap', dict(parts=('a', 'a')), 'different names'),
        ('GaussianBlur', dict(kernel_size=4), 'kernel_size'),
        ('GaussianBlur', dict(sigma=(0, 1)), 'sigma'),
        ('GaussianBlur', dict(sigma=(2, 1)), 'sigma'),
        ('GaussianBlur', dict(prob=1.1), 'prob'),
        ('RandomRelativeResize', dict(ratio_range=(0, 1.0)), RANGE),
        ('RandomRelativeResize', dict(ratio_range=(2.0, 0.5)), RANGE),
        ('RandomRelativeResize', dict(ratio_range=(1.0,)), RANGE),
        ('RandomRelativeResize', dict(ratio_range=(0.5, float('inf'))), RANGE),
        ('RandomRelativeResize', dict(ratio_range=(-1.0, 1.0)), RANGE),
        ('RandomRigidMotion', dict(angle=-1), 'angle'),
        ('RandomRigidMotion', dict(shift=2), 'shift'),
        ('RandomRigidMotion', dict(angle_prob=1.5), 'angle_prob'),
        ('RandomSharpness', dict(factor=(2.0, 1.0)), 'factor'),
        ('RandomSharpness', dict(prob=2.0), 'prob'),
        ('JigsawCrops', dict(grid=0), 'at least 1, got grid=0'),
        ('JigsawCrops', dict(crop_size=0), 'crop_size=0'),
        ('GenerateSuperpixels', dict(segments=3), 'no argument segments'),
        ('GenerateSuperpixels', dict(method='slick'), "method='slick'"),
        ('GenerateSuperpixels', dict(method='files'), 'needs folder'),
        ('GenerateSuperpixels', dict(method='none', cache='x'), 'computes nothing'),
        ('GenerateSuperpixels', dict(method='none', keep_image=False), 'adds nothing'),
        ('GenerateSuperpixels', dict(size=0), 'size'),
        ('MultiViewWithGeometry', views(dict(type='Rotate', angle=10.0)), 'moves pixels'),
        ('MultiViewWithGeometry', views(dict(type='Resize', scale=(8, 8))), 'moves pixels'),
        ('MultiViewWithGeometry', views(dict(type='RandomApply', transforms=[FLIP])), 'moves pixe'),
        ('MultiViewWithGeometry', views(dict(FLIP, direction='vertical')), 'moves pixels'),
        ('MultiViewWithGeometry', views(FLIP, FLIP), 'flips 2 times'),
        ('MultiViewWithGeometry', views(*[dict(type='orl_mm.RandomRigidMotion')] * 2), 'moves 2 t'),
        ('MultiViewWithGeometry', dict(views(), num_views=[1]), '2 pipelines'),
        ('MultiViewWithGeometry', dict(views(), flip_prob=2.0), 'flip_prob'),
        ('MultiViewWithGeometry', dict(views(), backend='cv2'), "backend='cv2'"),
        ('GenerateSuperpixels', dict(backend='quick'), "backend='quick'"),
    ],
)
def test_wrong_arguments(kind, options, message):
    init_default_scope('mmpretrain')
    if kind == 'MultiViewWithGeometry':
        options = dict(dict(num_views=[1, 1]), **options)
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(dict(type=f'orl_mm.{kind}', **options))


def test_repr_lists_the_arguments():
    jigsaw = TRANSFORMS.build(dict(type='orl_mm.JigsawCrops'))
    assert repr(jigsaw) == 'JigsawCrops(grid=3, crop_size=64)'
