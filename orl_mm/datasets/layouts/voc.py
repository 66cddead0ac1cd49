"""PASCAL VOC 2012 for segmentation, with the further masks of SBD."""

import os
from collections.abc import Sequence

from .label_maps import Folders, Pair, check_pairs, note_counts
from .report import LayoutReport, some

NUM_CLASSES = 21  # with the background
# trainaug is train and aug in one list, as mmseg's converter writes it.
IMAGES = dict(train=1_464, val=1_449, aug=9_118, trainaug=10_582)
DOWNLOAD = (
    'extract VOCtrainval_11-May-2012.tar of http://host.robots.ox.ac.uk/pascal/VOC/voc2012, '
    'see projects/transfer/README.md'
)
CONVERT = (
    'convert SBD as projects/transfer/README.md shows, or train without it: '
    'configs/transfer/voc/fcn_r50_train.py'
)


def _part(split: str, labels: str) -> dict:
    return dict(
        ann_file=f'ImageSets/Segmentation/{split}.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path=labels),
    )


# What configs/transfer/voc/fcn_r50.py reads, in the words of mmseg's data set.
PARTS = (
    _part('train', 'SegmentationClass'),
    _part('aug', 'SegmentationClassAug'),
    _part('val', 'SegmentationClass'),
)


def check_voc(
    root: str, parts: Sequence[dict] | None = None, every_file: bool = False, progress: bool = False
) -> LayoutReport:
    """Look at the lists of images, the images and the masks.

    Each listed image and its mask must be there, of the same size, the labels 0 to 20 or 255;
    no image may be on two lists. Fewer images than VOC's are a sample, which is noted.

    Args:
        root (str): The folder VOC2012.
        parts (sequence, optional): ``ann_file`` and ``data_prefix`` of mmseg's data sets.
            Defaults to those of train_aug and val.
        every_file (bool): Open every image and mask, not a few.
        progress (bool): Show bars.
    """
    report = LayoutReport('voc', root)
    if root and not os.path.isdir(root):
        report.problems.append(f'{root} is no folder; {DOWNLOAD}')
        return report
    folders, lists, told = Folders(), {}, set()
    for part in PARTS if parts is None else parts:
        path = os.path.join(root, part['ann_file'])
        if path in lists:  # the same for validation and test
            continue
        split = os.path.splitext(os.path.basename(path))[0]
        prefix = part['data_prefix']
        images, masks = (os.path.join(root, prefix[key]) for key in ('img_path', 'seg_map_path'))
        masks_fix = CONVERT if os.path.basename(masks) == 'SegmentationClassAug' else DOWNLOAD
        lists[path] = names = _read_list(path, masks_fix, report)
        lacking = [
            (folder, fix)
            for folder, fix in ((images, DOWNLOAD), (masks, masks_fix))
            if names and not folders.names(folder)
        ]
        for folder, fix in lacking:
            if folder in told:  # the images of all lists lie in one folder
                continue
            told.add(folder)
            report.problems.append(
                f'{folder} is no folder or empty, and {path} names '
                f'{len(names):,} files in it; {fix}'
            )
        if names and not lacking:
            pairs = [
                Pair(os.path.join(images, f'{name}.jpg'), os.path.join(masks, f'{name}.png'))
                for name in names
            ]
            check_pairs(
                pairs,
                folders,
                split,
                NUM_CLASSES,
                DOWNLOAD,
                masks_fix,
                every_file,
                progress,
                report,
            )
    _check_overlap(lists, report)
    note_counts(
        {os.path.splitext(os.path.basename(path))[0]: len(names) for path, names in lists.items()},
        IMAGES,
        'VOC 2012',
        report,
    )
    return report


def _read_list(path: str, fix: str, report: LayoutReport) -> list[str]:
    """Names of a list; none, and a problem, where it cannot be used."""
    if not os.path.isfile(path):
        report.problems.append(f'there is no list {path}; {fix}')
        return []
    with open(path, encoding='utf-8') as file:
        lines = [line.strip() for line in file]
    names = [line for line in lines if line]
    if not names:
        report.problems.append(f'the list {path} is empty; {fix}')
    elif len(names) < len(lines):
        report.problems.append(
            f'{path} has {len(lines) - len(names)} empty lines, which would be '
            'read as images without a name; take them out'
        )
    odd = [name for name in names if name.split()[0] != name or name.endswith(('.jpg', '.png'))]
    if odd:
        report.problems.append(
            f'{len(odd):,} lines of {path} are no bare names such as '
            f'2007_000032: {some(odd)}; write one name a line, without folder '
            'and ending'
        )
        return []
    return names


def _check_overlap(lists: dict[str, list[str]], report: LayoutReport) -> None:
    """No name twice: what is scored must not be trained on, what is trained on counts once."""
    where: dict[str, str] = {}
    for path, names in lists.items():
        twice: dict[str, list[str]] = {}
        for name in names:
            if name in where:
                twice.setdefault(where[name], []).append(name)
            where[name] = path
        for other, shared in twice.items():
            pair = f'{path} and {other}' if other != path else f'{path}, twice'
            report.problems.append(
                f'{len(shared):,} images are in {pair}: {some(shared)}; SBD has '
                f'lists of its own, do not use those; {CONVERT}'
            )
