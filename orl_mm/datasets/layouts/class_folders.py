"""Folders of images, one a class: what is in them, and whether that is all."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from orl_mm.io.image_list import IMAGE_EXTENSIONS, find_images

from .files import in_threads, split_names, spread, unreadable
from .report import LayoutReport, some

ARCHIVES = ('.tar', '.tgz', '.gz', '.zip', '.7z')
SPOTS = 64  # images opened unless all are


@dataclass
class ClassFolder:
    """A class: its images, as paths within its folder, and names of files that are none."""

    name: str
    images: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)


@dataclass
class ClassFolders:
    """A folder of class folders.

    Attributes:
        path (str): The folder.
        classes (list[ClassFolder]): Sorted by name.
        loose (list[str]): Names of images that lie right in the folder.
    """

    path: str
    classes: list[ClassFolder]
    loose: list[str]

    @property
    def total(self) -> int:
        """Images in all."""
        return len(self.loose) + sum(len(c.images) for c in self.classes)

    def names(self) -> list[str]:
        """Every image, as a path within the folder."""
        return self.loose + [f'{c.name}/{image}' for c in self.classes for image in c.images]

    @classmethod
    def look(
        cls,
        path: str,
        report: LayoutReport,
        progress: bool = False,
        wanted: Sequence[str] | None = None,
    ) -> 'ClassFolders':
        """List a folder, its sub-folders searched as :class:`orl_mm.ImageList` does.

        Archives are a problem, other things noted.

        Args:
            wanted (Sequence[str], optional): Look at folders of these names only.
        """
        folders, files = split_names(path)
        archives = [name for name in files if name.lower().endswith(ARCHIVES)]
        loose = [name for name in files if _is_image(name)]
        if wanted is not None:
            names = set(wanted)
            folders, loose = [name for name in folders if name in names], []
            archives = [name for name in archives if name.split('.')[0] in names]
        if archives:
            report.problems.append(
                f'{path} holds {len(archives):,} archives that are not '
                f'extracted ({some(archives)}); extract each into a folder of '
                'its name'
            )
        classes = [
            _look_into(path, name)
            for name in tqdm(folders, unit='class', desc=path, disable=not progress)
        ]
        odd = [f'{c.name}/{name}' for c in classes for name in c.odd]
        if odd:
            report.notes.append(
                f'{len(odd):,} files in the class folders of {path} are no images: {some(odd)}'
            )
        return cls(path, classes, loose)

    def check_empty(self, report: LayoutReport) -> None:
        """No class is without an image."""
        empty = [c.name for c in self.classes if not c.images]
        if empty:
            report.problems.append(
                f'{len(empty):,} class folders of {self.path} hold no image: '
                f'{some(empty)}; extract them again, or take them away'
            )

    def check_counts(self, expected: int, limits: tuple[int, int], report: LayoutReport) -> None:
        """As many images as there should be: a part is a sample, almost all a mishap.

        Args:
            expected (int): Images of the whole; below half of it, anything goes.
            limits (tuple[int, int]): Fewest and most images of a class of the whole.
        """
        self.check_empty(report)
        total, (least, most) = self.total, limits
        if total < expected / 2:
            report.notes.append(
                f'a sample, or other images: {total:,} in {self.path}; the whole has {expected:,}'
            )
            return
        off = [
            f'{c.name} ({len(c.images):,})'
            for c in self.classes
            if c.images and not least <= len(c.images) <= most
        ]
        if off:
            each = f'{least:,} to {most:,}' if most > least else f'{least:,}'
            report.problems.append(
                f'{len(off):,} classes of {self.path} do not have {each} '
                f'images: {some(off)}; extract them again'
            )
        if total != expected:
            report.problems.append(
                f'{self.path} has {total:,} images, {abs(total - expected):,} '
                f'{"fewer" if total < expected else "more"} than the '
                f'{expected:,} there should be; extract the archive again'
            )

    def check_images(self, every_file: bool, progress: bool, report: LayoutReport) -> None:
        """Decode the images: all, or the middle one of some classes and some loose ones."""
        names = (
            self.names()
            if every_file
            else spread(self.loose, SPOTS)
            + spread(
                [f'{c.name}/{c.images[len(c.images) // 2]}' for c in self.classes if c.images],
                SPOTS,
            )
        )
        paths = [os.path.join(self.path, name) for name in names]
        report.counts['images opened'] = report.counts.get('images opened', 0) + len(paths)
        bad = [f'{path} ({why})' for path, why in in_threads(unreadable, paths, progress)]
        if bad:
            report.problems.append(
                f'{len(bad):,} of {len(paths):,} images opened cannot be '
                f'decoded: {some(bad)}; extract or copy them again'
                + ('' if every_file else ', and look at all with --all')
            )


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_EXTENSIONS)


def _look_into(path: str, name: str) -> ClassFolder:
    found, folder = ClassFolder(name), os.path.join(path, name)
    inner, files = split_names(folder)
    for file in files:
        (found.images if _is_image(file) else found.odd).append(file)
    for deeper in inner:
        found.images += [
            os.path.relpath(image, folder) for image in find_images(os.path.join(folder, deeper))
        ]
    return found
