"""ImageNet (ILSVRC 2012) in class folders: the complete set, or the classes of a list."""

import os
from collections.abc import Collection
from pathlib import Path

from tqdm import tqdm

from orl_mm.io.image_list import IMAGE_EXTENSIONS, find_images, read_class_list

from .checker import Checker, some, split_names, spread, unreadable

ARCHIVES = ('.tar', '.tgz', '.gz', '.zip', '.7z')
LIMITS = dict(train=(732, 1300), val=(50, 50))  # fewest and most images of a class
AGAIN = 'extract the archive again'


class ImageFolder:
    """A folder of class folders, listed; archives are a problem, other files are noted.

    Args:
        check (Checker): Where to report.
        path (str): The folder.
        wanted (collection, optional): Look only at classes of these names.

    Attributes:
        classes (dict[str, list[str]]): Class -> its images, as paths within the class folder,
            which is searched as by :class:`orl_mm.ImageList`.
        loose (list[str]): Names of images that lie directly in the folder.
    """

    def __init__(self, check: Checker, path: str, wanted: Collection[str] | None = None) -> None:
        self.path = path
        folders, files = split_names(path)
        archives = [name for name in files if name.lower().endswith(ARCHIVES)]
        self.loose = [name for name in files if _is_image(name)]
        if wanted is not None:
            folders = [name for name in folders if name in wanted]
            archives = [name for name in archives if name.split('.')[0] in wanted]
            self.loose = []
        if archives:
            check.problem(
                f'{path} holds {len(archives):,} archives that are not extracted '
                f'({some(archives)})',
                'extract each into a folder of its name',
            )
        self.classes: dict[str, list[str]] = {}
        odd = []
        for name in tqdm(folders, unit='class', desc=path, disable=not check.progress):
            folder = os.path.join(path, name)
            inner, files = split_names(folder)
            self.classes[name] = [file for file in files if _is_image(file)]
            odd += [f'{name}/{file}' for file in files if not _is_image(file)]
            for deeper in inner:
                found = find_images(os.path.join(folder, deeper))
                self.classes[name] += [os.path.relpath(image, folder) for image in found]
        if odd:
            check.note(
                f'{len(odd):,} files in the class folders of {path} are not images: {some(odd)}'
            )

    @property
    def total(self) -> int:
        """All images."""
        return len(self.loose) + sum(map(len, self.classes.values()))

    def names(self) -> list[str]:
        """Every image, as a path within the folder."""
        return self.loose + [f'{c}/{image}' for c in self.classes for image in self.classes[c]]


def check_imagenet(check: Checker, labels: bool = False) -> None:
    """Check ``train/<class>/<image>`` and ``val``.

    Any folder of images may be used for pretraining: that it is not ImageNet, or a sample of
    it, is only noted. A folder with at least half of ImageNet's images is taken to be
    ImageNet: then every class must be there with all of its images.

    Args:
        check (Checker): Its root is the folder with ``train`` in it, or the folder of images.
        labels (bool): Require what the linear probe and k-NN need: ``train`` and ``val``, each
            in folders of the 1,000 classes or with ``meta/train.txt``, ``meta/val.txt``.
    """
    path = _train_folder(check, required=labels)
    if path is None:
        return
    train = ImageFolder(check, path)
    check.report.counts.update({'train images': train.total, 'train classes': len(train.classes)})
    if not train.total:
        check.problem(f'no image below {path}', path=path)
        return
    expected = check.layout.images['train']
    if labels:
        _check_labels(check, 'train', train)
    elif train.classes:
        _check_classes(check, train, required=train.total >= expected / 2)
    else:
        check.note(
            f'{path} has no class folders: enough for pretraining; the linear probe and k-NN need '
            'labels'
        )
    _check_counts(check, train, expected, LIMITS['train'])
    _open_images(check, train)
    if labels:
        _check_val(check)
    elif not os.path.isdir(os.path.join(check.root, 'val')):
        check.note(
            'no folder val: pretraining does not need it, the linear probe and k-NN do (check with '
            '--labels)'
        )


def check_imagenet100(check: Checker, classes: str = 'imagenet100') -> None:
    """Check the training images of the classes of a list.

    Args:
        check (Checker): Its root is the folder with ``train`` in it, or the folder of class
            folders.
        classes (str): A file of folder names, one per line, or the name of a shipped list.
    """
    try:
        listed = read_class_list(classes)
    except ValueError as error:
        check.problem(str(error), 'give a file of class folders, one per line')
        return
    path = _train_folder(check, required=True, wanted=listed)
    if path is None:
        return
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if twice:
        check.problem(
            f'the class list {classes} names {some(twice)} more than once, so its images would be '
            'drawn more often',
            'remove the repeated lines',
        )
    train = ImageFolder(check, path, listed)
    check.report.counts.update({'train images': train.total, 'train classes': len(train.classes)})
    wanted = list(dict.fromkeys(listed))
    absent = [name for name in wanted if name not in train.classes]
    if absent:
        check.problem(
            f'{len(absent):,} of the {len(wanted):,} classes of the list {classes} have no folder '
            f'in {path}: {some(absent)}',
            'extract them, or correct the list',
        )
    if classes == 'imagenet100':
        _check_counts(check, train, check.layout.images['train'], LIMITS['train'])
    else:
        _check_empty(check, train)
    _open_images(check, train)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_EXTENSIONS)


def _train_folder(
    check: Checker, required: bool, wanted: Collection[str] | None = None
) -> str | None:
    """``root/train``; ``root`` itself where that may hold the images; None with a problem."""
    root = check.root
    train = os.path.join(root, 'train')
    if os.path.isdir(train):
        return train
    if not check.has_root():
        return None
    classes = set(wanted or read_class_list('imagenet'))
    if required and Path(root).name != 'train' and classes.isdisjoint(split_names(root)[0]):
        check.problem(f'{root} has no folder train', path=root)
        return None
    check.note(f'no folder train in {root}: looked at {root} itself')
    return root


def _check_empty(check: Checker, folder: ImageFolder) -> None:
    empty = [name for name, images in folder.classes.items() if not images]
    if empty:
        check.problem(
            f'{len(empty):,} class folders of {folder.path} hold no image: {some(empty)}',
            'extract them again, or remove them',
        )


def _check_counts(
    check: Checker, folder: ImageFolder, expected: int, limits: tuple[int, int]
) -> None:
    """Less than half of the images is a sample; more must be all of them."""
    _check_empty(check, folder)
    total, (least, most) = folder.total, limits
    if total < expected / 2:
        check.note(
            f'a sample, or other images: {total:,} in {folder.path}; the complete set has '
            f'{expected:,}'
        )
        return
    off = [
        f'{name} ({len(images):,})'
        for name, images in folder.classes.items()
        if images and not least <= len(images) <= most
    ]
    if off:
        each = f'{least:,} to {most:,}' if most > least else f'{least:,}'
        check.problem(
            f'{len(off):,} classes of {folder.path} do not have {each} images: {some(off)}', AGAIN
        )
    if total != expected:
        check.problem(
            f'{folder.path} has {total:,} images, {abs(total - expected):,} '
            f'{"fewer" if total < expected else "more"} than the {expected:,} of ImageNet',
            AGAIN,
        )


def _open_images(check: Checker, folder: ImageFolder) -> None:
    """Decode all images, or some loose ones and the middle one of some classes."""
    names = folder.names()
    if not check.every_file:
        middle = [
            f'{c}/{images[len(images) // 2]}' for c, images in folder.classes.items() if images
        ]
        names = spread(folder.loose, 32) + spread(middle, 32)
    split = os.path.basename(folder.path)
    paths = [os.path.join(folder.path, name) for name in names]
    check.open_files(paths, unreadable, f'images of {split}', AGAIN)


def _check_classes(check: Checker, folder: ImageFolder, required: bool) -> None:
    """The folders must be, or are noted not to be, the 1,000 classes of ImageNet."""
    known = read_class_list('imagenet')
    absent = [name for name in known if name not in folder.classes]
    strange = sorted(set(folder.classes).difference(known))
    others = (
        f'{len(strange):,} folders of {folder.path} are not classes of ImageNet: {some(strange)}'
    )
    if not required:
        if strange and len(absent) < len(known):
            check.note(others)
        return
    if absent:
        check.problem(
            f'{len(absent):,} of the 1,000 classes of ImageNet have no folder in {folder.path}: '
            f'{some(absent)}',
            'extract them from the archive',
        )
    if strange:
        check.problem(others, 'labels follow the order of the folders: move them away')


def _check_val(check: Checker) -> None:
    path = os.path.join(check.root, 'val')
    if not os.path.isdir(path):
        check.problem(
            f'{check.root} has no folder val, on which the linear probe and k-NN are scored',
            path=path,
        )
        return
    val = ImageFolder(check, path)
    check.report.counts['val images'] = val.total
    if not val.total:
        check.problem(f'no image below {path}', path=path)
        return
    _check_labels(check, 'val', val)
    _check_counts(check, val, check.layout.images['val'], LIMITS['val'])
    _open_images(check, val)


def _check_labels(check: Checker, split: str, folder: ImageFolder) -> None:
    """By ``meta/<split>.txt``, which mmpretrain reads if it exists, else by class folders."""
    meta = os.path.join(check.root, 'meta', f'{split}.txt')
    if os.path.isfile(meta):
        _check_meta(check, meta, folder)
    elif folder.loose:
        check.problem(
            f'{len(folder.loose):,} images lie directly in {folder.path}, so their labels are '
            'unknown',
            f'sort them into class folders or add meta/{split}.txt: projects/data/README.md shows '
            'how',
        )
    else:
        _check_classes(check, folder, required=True)


def _check_meta(check: Checker, meta: str, folder: ImageFolder) -> None:
    """Every line must be an image of the folder and a label of 0 to 999."""
    fix = f'write it again, or remove it if {folder.path} has class folders'
    with open(meta, encoding='utf-8') as file:
        lines = [line.strip() for line in file if line.strip()]
    labels = {}
    for line in lines:
        name, _, label = line.rpartition(' ')
        labels[name.strip()] = label
    bad = [
        f'{name} {label}'.strip()
        for name, label in labels.items()
        if not (name and label.isdigit() and int(label) < 1000)
    ]
    if bad or not lines:
        check.problem(
            f'{len(bad):,} of the {len(lines):,} lines of {meta} are not "IMAGE LABEL" with a '
            f'label of 0 to 999: {some(bad) or "it is empty"}',
            fix,
        )
        return
    names = folder.names()
    absent = sorted(set(labels).difference(names))
    if absent:
        check.problem(
            f'{len(absent):,} of the {len(labels):,} images of {meta} are not in {folder.path}: '
            f'{some(absent)}',
            fix,
        )
    if len(labels) < len(names):
        check.note(
            f'{meta} names {len(labels):,} of the {len(names):,} images of {folder.path}: the '
            'others are not used'
        )
