"""ImageNet (ILSVRC 2012) in class folders: the complete set, or the classes of a list."""

import os
from collections.abc import Collection, Sequence

from tqdm import tqdm

from orl_mm.io.image_list import IMAGE_EXTENSIONS, find_images, read_class_list

from .checker import Checker, list_folder, some, spread, unreadable

ARCHIVES = ('.tar', '.tgz', '.gz', '.zip', '.7z')
LIMITS = dict(train=(732, 1300), val=(50, 50))  # fewest and most images of a class
AGAIN = 'extract the archive again'


class ImageFolder:
    """A folder of class folders, listed.

    Args:
        check (Checker): Where to report, and to count images and classes.
        path (str): The folder.
        split (str): ``'train'`` or ``'val'``.
        wanted (collection, optional): Look only at classes of these names.

    Attributes:
        classes (dict[str, list[str]]): Class -> its images, as paths within the class folder,
            which is searched as by :class:`orl_mm.ImageList`.
        loose (list[str]): Names of images that lie directly in the folder.
        names (list[str]): Every image, as a path within the folder.
    """

    def __init__(
        self, check: Checker, path: str, split: str, wanted: Collection[str] | None = None
    ) -> None:
        self.check, self.path, self.split = check, path, split
        listing = list_folder(path)
        if wanted is not None:
            listing = {name: kind for name, kind in listing.items() if name.split('.')[0] in wanted}
        files = [name for name, is_folder in listing.items() if not is_folder]
        check.problem_of(
            [name for name in files if name.lower().endswith(ARCHIVES)],
            f'archives in {path} are not extracted',
            'extract each into a folder of its name',
        )
        self.loose = [name for name in files if name.lower().endswith(IMAGE_EXTENSIONS)]
        folders = [name for name in listing if listing[name] and name in (wanted or listing)]
        self.classes: dict[str, list[str]] = {}
        for name in tqdm(folders, unit='class', desc=path, disable=not check.progress):
            folder = os.path.join(path, name)
            self.classes[name] = [os.path.relpath(image, folder) for image in find_images(folder)]
        self.names = self.loose + [
            f'{c}/{image}' for c in self.classes for image in self.classes[c]
        ]
        check.counts[f'{split} images'] = len(self.names)
        check.counts[f'{split} classes'] = len(self.classes)

    def check_classes(self, known: Sequence[str], source: str, required: bool = True) -> None:
        """The folders must be, or are noted not to be, those of a list of classes."""
        absent = [name for name in known if name not in self.classes]
        others = sorted(set(self.classes).difference(known))
        text = f'folders of {self.path} are not classes of {source}'
        if required:
            self.check.problem_of(
                absent,
                f'of the {len(known):,} classes of {source} have no folder in {self.path}',
                'extract them from the archive, or correct the list',
            )
            self.check.problem_of(
                others, text, 'labels follow the order of the folders: move them away'
            )
        elif others and len(absent) < len(known):
            self.check.notes.append(f'{len(others):,} {text}: {some(others)}')

    def check_labels(self) -> None:
        """By ``meta/<split>.txt``, which mmpretrain reads if it exists, else by class folders."""
        meta = os.path.join(self.check.root, 'meta', f'{self.split}.txt')
        if os.path.isfile(meta):
            self._check_meta(meta)
        elif self.loose:
            self.check.problem(
                f'{len(self.loose):,} images lie directly in {self.path}, so their labels are '
                'unknown',
                f'sort them into class folders or add meta/{self.split}.txt as '
                'projects/data/README.md shows',
            )
        else:
            self.check_classes(read_class_list('imagenet'), 'ImageNet')

    def _check_meta(self, meta: str) -> None:
        """Every line must be an image of the folder and a label of 0 to 999."""
        with open(meta, encoding='utf-8') as file:
            lines = [line.strip() for line in file if line.strip()]
        bad, names = [], set(self.names)
        for line in lines:
            name, _, label = line.rpartition(' ')
            if name.strip() not in names or not label.isdigit() or int(label) > 999:
                bad.append(line)
        if bad or not lines:
            self.check.problem(
                f'{len(bad):,} of the {len(lines):,} lines of {meta} are not "IMAGE LABEL" with an '
                f'image of {self.path} and a label of 0 to 999: {some(bad) or "it is empty"}',
                f'write it again, or remove it if {self.path} has class folders',
            )
        elif len(lines) < len(names):
            self.check.notes.append(
                f'{meta} names {len(lines):,} of the {len(names):,} images of {self.path}: '
                'the others are not used'
            )

    def check_counts(self, complete: bool = True) -> None:
        """No class may be empty; less than half of the images is a sample, more must be all.

        Args:
            complete (bool): Whether to compare with the numbers of the complete set.
        """
        check, total = self.check, len(self.names)
        empty = [name for name, images in self.classes.items() if not images]
        text = f'class folders of {self.path} hold no image'
        check.problem_of(empty, text, 'extract them again, or remove them')
        expected, (least, most) = check.layout.images[self.split], LIMITS[self.split]
        if not complete:
            return
        if total < expected / 2:
            check.notes.append(
                f'a sample, or other images: {total:,} in {self.path}; the complete set has '
                f'{expected:,}'
            )
            return
        sizes = {name: len(images) for name, images in self.classes.items() if images}
        off = [f'{name} ({size:,})' for name, size in sizes.items() if not least <= size <= most]
        text = f'classes of {self.path} do not have {least:,} to {most:,} images'
        check.problem_of(off, text, AGAIN)
        if total != expected:
            text = f'{self.path} has {total:,} images, not the {expected:,} of ImageNet'
            check.problem(text, AGAIN)

    def open_images(self) -> None:
        """Decode all images, or some loose ones and the middle one of some classes."""
        names: Sequence[str] = self.names
        if not self.check.every_file:
            middle = [
                f'{c}/{images[len(images) // 2]}' for c, images in self.classes.items() if images
            ]
            names = [*spread(self.loose, 32), *spread(middle, 32)]
        paths = [os.path.join(self.path, name) for name in names]
        self.check.open_files(paths, unreadable, f'images of {self.split}', AGAIN)


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
    known = read_class_list('imagenet')
    train, val = _train_folder(check, known if labels else None), os.path.join(check.root, 'val')
    if train is None:
        return
    if not labels and not os.path.isdir(val):
        check.notes.append(
            'no folder val: pretraining does not need it, the linear probe and k-NN do (check with '
            '--labels)'
        )
    for split, path in dict(train=train, val=val).items() if labels else [('train', train)]:
        if not os.path.isdir(path):
            text = f'{check.root} has no folder val, on which the linear probe and k-NN are scored'
            check.problem(text, path=path)
            continue
        folder = ImageFolder(check, path, split)
        if not folder.names:
            check.problem(f'no image below {path}', path=path)
            continue
        if labels:
            folder.check_labels()
        elif folder.classes:
            half = check.layout.images[split] / 2
            folder.check_classes(known, 'ImageNet', required=len(folder.names) >= half)
        else:
            check.notes.append(
                f'{path} has no class folders: enough for pretraining; the linear probe and k-NN '
                'need labels'
            )
        folder.check_counts()
        folder.open_images()


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
    path = _train_folder(check, listed)
    if path is None:
        return
    folder = ImageFolder(check, path, 'train', listed)
    folder.check_classes(listed, f'the list {classes}')
    folder.check_counts(complete=classes == 'imagenet100')
    folder.open_images()


def _train_folder(check: Checker, classes: Collection[str] | None) -> str | None:
    """``root/train``; ``root`` itself where it has some of the classes, if these are required."""
    root, train = check.root, os.path.join(check.root, 'train')
    if os.path.isdir(train):
        return train
    if not check.has_root():
        return None
    named = os.path.basename(os.path.normpath(root)) == 'train'
    if classes is not None and not named and not set(classes) & set(list_folder(root)):
        check.problem(f'{root} has no folder train', path=root)
        return None
    check.notes.append(f'no folder train in {root}: looked at {root} itself')
    return root
