"""What each data set must look like in its folder, and a check that says what is missing.

A new data set is one entry of :data:`LAYOUTS`. ``tools/check_data.py`` prints the report of
:func:`check_layout`; ``CheckDataHook`` asks for it before a run begins. See
``projects/data/README.md`` for the folders.
"""

import inspect
from functools import partial

from .checker import Checker, Layout
from .coco import check_coco
from .imagenet import check_imagenet, check_imagenet100
from .label_maps import check_label_maps

__all__ = ['LAYOUTS', 'Checker', 'Layout', 'check_layout']

_IMAGENET = (('*', 'see projects/data/README.md for the download'),)
_COCO_PAGE = 'of https://cocodataset.org/#download'
_VOC_LISTS = 'ImageSets/Segmentation'
_SBD = (
    'convert SBD as projects/transfer/README.md shows (its own lists repeat images of val), or '
    'train without it: configs/transfer/voc/fcn_r50_train.py'
)


def _masks(images: str, labels: str, ann_file: str = '') -> dict:
    return dict(ann_file=ann_file, data_prefix=dict(img_path=images, seg_map_path=labels))


LAYOUTS: dict[str, Layout] = dict(
    imagenet=Layout('data/imagenet', check_imagenet, _IMAGENET, dict(train=1_281_167, val=50_000)),
    imagenet100=Layout('data/imagenet', check_imagenet100, _IMAGENET, dict(train=126_689)),
    coco=Layout(
        'data/coco',
        check_coco,
        (
            ('*.json', f'extract annotations_trainval2017.zip {_COCO_PAGE} again'),
            ('*train2017*', f'extract train2017.zip {_COCO_PAGE} again'),
            ('*val2017*', f'extract val2017.zip {_COCO_PAGE} again'),
            ('*', 'see projects/data/README.md for the download'),
        ),
        dict(train2017=118_287, val2017=5_000),
        tuple(
            dict(ann_file=f'annotations/instances_{name}.json', data_prefix=dict(img=f'{name}/'))
            for name in ('train2017', 'val2017')
        ),
    ),
    voc=Layout(
        'data/VOCdevkit/VOC2012',
        partial(check_label_maps, num_classes=21, image_suffix='.jpg', label_suffix='.png'),
        (
            ('*/SegmentationClassAug*', _SBD),
            ('*aug.txt', _SBD),
            (
                '*',
                'extract VOCtrainval_11-May-2012.tar of '
                'http://host.robots.ox.ac.uk/pascal/VOC/voc2012, see projects/transfer/README.md',
            ),
        ),
        # trainaug is train and aug in one list, as mmseg's converter writes it.
        dict(train=1_464, val=1_449, aug=9_118, trainaug=10_582),
        (
            _masks('JPEGImages', 'SegmentationClass', f'{_VOC_LISTS}/train.txt'),
            _masks('JPEGImages', 'SegmentationClassAug', f'{_VOC_LISTS}/aug.txt'),
            _masks('JPEGImages', 'SegmentationClass', f'{_VOC_LISTS}/val.txt'),
        ),
    ),
    cityscapes=Layout(
        'data/cityscapes',
        partial(
            check_label_maps,
            num_classes=19,
            image_suffix='_leftImg8bit.png',
            label_suffix='_gtFine_labelTrainIds.png',
        ),
        (
            (
                '*_labelTrainIds.png',
                'extract gtFine_trainvaltest.zip and make them from *_gtFine_polygons.json as '
                'projects/transfer/README.md shows',
            ),
            (
                '*',
                'extract leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip of '
                'https://www.cityscapes-dataset.com, see projects/transfer/README.md',
            ),
        ),
        dict(train=2_975, val=500),
        tuple(_masks(f'leftImg8bit/{split}', f'gtFine/{split}') for split in ('train', 'val')),
    ),
)


def check_layout(
    name: str, root: str | None = None, every_file: bool = False, progress: bool = False, **options
) -> Checker:
    """Check a data set's folder.

    Args:
        name (str): One of :data:`LAYOUTS`.
        root (str, optional): The folder; default: the layout's.
        every_file (bool): Open every file. By default folders are listed and a few files opened,
            which takes seconds.
        progress (bool): Show progress bars.
        **options: Of the layout's check.

    Returns:
        Checker: Its ``problems``, ``notes`` and ``counts``.

    Raises:
        ValueError: An unknown name or option.
    """
    if name not in LAYOUTS:
        raise ValueError(f'there is no layout {name!r}; choose one of {", ".join(LAYOUTS)}')
    layout = LAYOUTS[name]
    for option in set(options).difference(inspect.signature(layout.check).parameters):
        raise ValueError(f'{option} is not an option of {name}')
    checker = Checker(name, layout, root or layout.root, every_file, progress)
    layout.check(checker, **options)
    return checker
