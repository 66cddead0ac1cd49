"""Cityscapes, the finely labelled part, with the 19 classes that are scored."""

import os
from collections.abc import Sequence

from .files import split_names
from .label_maps import Folders, Pair, check_pairs, note_counts
from .report import LayoutReport

NUM_CLASSES = 19
IMAGES = dict(train=2_975, val=500)
IMAGE, LABELS = '_leftImg8bit.png', '_gtFine_labelTrainIds.png'
DOWNLOAD = (
    'extract leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip of '
    'https://www.cityscapes-dataset.com, see projects/transfer/README.md'
)
CONVERT = 'make them from *_gtFine_polygons.json as projects/transfer/README.md shows'
# What configs/transfer/cityscapes/fcn_r50.py reads, in the words of mmseg's data set.
PARTS = tuple(
    dict(data_prefix=dict(img_path=f'leftImg8bit/{split}', seg_map_path=f'gtFine/{split}'))
    for split in IMAGES
)


def check_cityscapes(
    root: str, parts: Sequence[dict] | None = None, every_file: bool = False, progress: bool = False
) -> LayoutReport:
    """Look at ``leftImg8bit/<split>/<city>`` and ``gtFine/<split>/<city>``.

    Each image must have ``*_gtFine_labelTrainIds.png`` of its size with labels 0 to 18 or 255.
    Fewer images than Cityscapes' are a sample, which is noted.

    Args:
        root (str): The folder with ``leftImg8bit`` and ``gtFine``.
        parts (sequence, optional): ``data_prefix`` of mmseg's data sets. Defaults to train and val.
        every_file (bool): Open every image and label map, not a few.
        progress (bool): Show bars.
    """
    report = LayoutReport('cityscapes', root)
    if root and not os.path.isdir(root):
        report.problems.append(f'{root} is no folder; {DOWNLOAD}')
        return report
    folders = Folders()
    found: dict[str, int] = {}
    done = set()
    for part in PARTS if parts is None else parts:
        prefix = part['data_prefix']
        images, labels = (os.path.join(root, prefix[key]) for key in ('img_path', 'seg_map_path'))
        if (images, labels) in done:  # the same for validation and test
            continue
        done.add((images, labels))
        split = os.path.basename(os.path.normpath(images))
        names = _list_images(images)
        found[split] = len(names)
        if not names:
            report.problems.append(f'there is no image <city>/*{IMAGE} in {images}; {DOWNLOAD}')
            continue
        pairs = [
            Pair(os.path.join(images, name + IMAGE), os.path.join(labels, name + LABELS))
            for name in names
        ]
        check_pairs(
            pairs,
            folders,
            split,
            NUM_CLASSES,
            DOWNLOAD,
            CONVERT if os.path.isdir(labels) else DOWNLOAD,
            every_file,
            progress,
            report,
        )
    note_counts(found, IMAGES, 'Cityscapes', report)
    return report


def _list_images(folder: str) -> list[str]:
    """``<city>/<frame>`` of all images below a folder; none where it does not exist."""
    if not os.path.isdir(folder):
        return []
    return [
        os.path.join(city, name[: -len(IMAGE)])
        for city in split_names(folder)[0]
        for name in split_names(os.path.join(folder, city))[1]
        if name.endswith(IMAGE)
    ]
