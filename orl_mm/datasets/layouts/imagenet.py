"""ImageNet (ILSVRC 2012) in class folders, whole or the classes of a list."""

import os
from pathlib import Path

from orl_mm.io.image_list import read_class_list

from .class_folders import ClassFolders
from .files import split_names
from .report import LayoutReport, some

TRAIN_IMAGES, VAL_IMAGES, IMAGENET100_IMAGES = 1_281_167, 50_000, 126_689
# Images of a class, fewest and most.
TRAIN_LIMITS, VAL_LIMITS = (732, 1300), (50, 50)
DOWNLOAD = 'see projects/data/README.md for the download'


def check_imagenet(
    root: str, labels: bool = False, every_file: bool = False, progress: bool = False
) -> LayoutReport:
    """Look at ``train/<class>/<image>`` and ``val``.

    For pretraining any folder of images serves: that it is not ImageNet, or a sample of
    it, is noted and no problem. What holds at least half of ImageNet's images is meant to
    be all of it: then every class must be there with all of its images.

    Args:
        root (str): The folder with ``train`` in it; or the folder of images itself.
        labels (bool): Demand what the linear probe and k-NN need: ``train`` and ``val``,
            each in folders of the 1,000 classes or with ``meta/train.txt``, ``meta/val.txt``.
        every_file (bool): Decode every image, not a few of them.
        progress (bool): Show bars.
    """
    report = LayoutReport('imagenet', root)
    path = _train_folder(root, report, demanded=labels)
    if path is None:
        return report
    train = ClassFolders.look(path, report, progress)
    report.counts.update({'train images': train.total, 'train classes': len(train.classes)})
    if not train.total:
        report.problems.append(f'no image below {path}; {DOWNLOAD}')
        return report
    if labels:
        _check_labels(root, 'train', train, report)
    elif not train.classes:
        report.notes.append(
            f'{path} has no class folders: enough for pretraining; the linear '
            'probe and k-NN need labels'
        )
    else:
        _check_classes(train, train.total >= TRAIN_IMAGES / 2, report)
    train.check_counts(TRAIN_IMAGES, TRAIN_LIMITS, report)
    train.check_images(every_file, progress, report)
    if labels:
        _check_val(root, every_file, progress, report)
    elif not os.path.isdir(os.path.join(root, 'val')):
        report.notes.append(
            'no folder val: pretraining needs none, the linear probe and k-NN do '
            '(look for them with --labels)'
        )
    return report


def check_imagenet100(
    root: str, classes: str = 'imagenet100', every_file: bool = False, progress: bool = False
) -> LayoutReport:
    """Look at the training images of the classes of a list.

    Args:
        root (str): The folder with ``train`` in it; or the folder of class folders itself.
        classes (str): A file of folder names, one a line, or the name of a shipped list.
        every_file, progress: See :func:`check_imagenet`.
    """
    report = LayoutReport('imagenet100', root)
    try:
        wanted = read_class_list(classes)
    except ValueError as error:
        report.problems.append(f'{error}; give a file of class folders, one a line')
        return report
    path = _train_folder(root, report, demanded=True, wanted=wanted)
    if path is None:
        return report
    twice = sorted({name for name in wanted if wanted.count(name) > 1})
    if twice:
        report.problems.append(
            f'the class list {classes} names {some(twice)} more than once, and '
            'would have its images drawn as often; take the lines out'
        )
    train = ClassFolders.look(path, report, progress, wanted)
    report.counts.update({'train images': train.total, 'train classes': len(train.classes)})
    here = {c.name for c in train.classes}
    absent = [name for name in dict.fromkeys(wanted) if name not in here]
    if absent:
        report.problems.append(
            f'{len(absent):,} of the {len(set(wanted)):,} classes of the list {classes} have no '
            f'folder in {path}: {some(absent)}; extract them, or correct the list'
        )
    if classes == 'imagenet100':
        train.check_counts(IMAGENET100_IMAGES, TRAIN_LIMITS, report)
    else:
        train.check_empty(report)
    train.check_images(every_file, progress, report)
    return report


def _train_folder(
    root: str, report: LayoutReport, demanded: bool, wanted: list[str] | None = None
) -> str | None:
    """``root/train``; ``root`` itself where that may hold the images; None with a problem."""
    train = os.path.join(root, 'train')
    if os.path.isdir(train):
        return train
    if not os.path.isdir(root):
        report.problems.append(f'{root} is no folder; {DOWNLOAD}')
        return None
    classes = set(wanted or read_class_list('imagenet'))
    if demanded and Path(root).name != 'train' and classes.isdisjoint(split_names(root)[0]):
        report.problems.append(f'{root} has no folder train; {DOWNLOAD}')
        return None
    report.notes.append(f'no folder train in {root}: looked at {root} itself')
    return root


def _check_classes(folder: ClassFolders, demanded: bool, report: LayoutReport) -> None:
    """The folders are the 1,000 classes of ImageNet."""
    known, here = read_class_list('imagenet'), {c.name for c in folder.classes}
    absent = [name for name in known if name not in here]
    strange = sorted(here.difference(known))
    if not demanded:
        if strange and len(absent) < len(known):
            report.notes.append(
                f'{len(strange):,} folders of {folder.path} are no class of '
                f'ImageNet: {some(strange)}'
            )
        return
    if absent:
        report.problems.append(
            f'{len(absent):,} of the 1,000 classes of ImageNet have no folder '
            f'in {folder.path}: {some(absent)}; extract them from the archive'
        )
    if strange:
        report.problems.append(
            f'{len(strange):,} folders of {folder.path} are no class of '
            f'ImageNet: {some(strange)}; labels follow the order of the '
            'folders: move them away'
        )


def _check_val(root: str, every_file: bool, progress: bool, report: LayoutReport) -> None:
    path = os.path.join(root, 'val')
    if not os.path.isdir(path):
        report.problems.append(
            f'{root} has no folder val, on which the linear probe and k-NN are scored; {DOWNLOAD}'
        )
        return
    val = ClassFolders.look(path, report, progress)
    report.counts['val images'] = val.total
    if not val.total:
        report.problems.append(f'no image below {path}; {DOWNLOAD}')
        return
    _check_labels(root, 'val', val, report)
    val.check_counts(VAL_IMAGES, VAL_LIMITS, report)
    val.check_images(every_file, progress, report)


def _check_labels(root: str, split: str, folder: ClassFolders, report: LayoutReport) -> None:
    """By ``meta/<split>.txt``, which mmpretrain reads where it is, else by class folders."""
    meta = os.path.join(root, 'meta', f'{split}.txt')
    if os.path.isfile(meta):
        _check_meta(meta, folder, report)
    elif folder.loose:
        report.problems.append(
            f'{len(folder.loose):,} images lie right in {folder.path}, so their '
            'labels are unknown; sort them into class folders or add '
            f'meta/{split}.txt: projects/data/README.md shows how'
        )
    else:
        _check_classes(folder, True, report)


def _check_meta(meta: str, folder: ClassFolders, report: LayoutReport) -> None:
    """Every line is an image of the folder and a label of 0 to 999, and every image has one."""
    fix = f'write it anew, or take it away where {folder.path} has class folders'
    with open(meta, encoding='utf-8') as file:
        lines = [line.strip() for line in file if line.strip()]
    labels: dict[str, str] = {}
    for line in lines:
        name, _, label = line.rpartition(' ')
        labels[name.strip()] = label
    bad = [
        f'{name} {label}'.strip()
        for name, label in labels.items()
        if not (name and label.isdigit() and int(label) < 1000)
    ]
    if bad or not lines:
        report.problems.append(
            f'{len(bad):,} of the {len(lines):,} lines of {meta} are not '
            '"IMAGE LABEL" with a label of 0 to 999: '
            f'{some(bad) or "it is empty"}; {fix}'
        )
        return
    names = folder.names()
    absent = sorted(set(labels).difference(names))
    if absent:
        report.problems.append(
            f'{len(absent):,} of the {len(labels):,} images of {meta} are not '
            f'in {folder.path}: {some(absent)}; {fix}'
        )
    if len(labels) < len(names):
        report.notes.append(
            f'{meta} names {len(labels):,} of the {len(names):,} images of '
            f'{folder.path}: the others are not used'
        )
