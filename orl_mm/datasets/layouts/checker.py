"""The part that all checks of data sets share: listing folders, opening files, reporting."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any, TypeVar

from tqdm import tqdm

from orl_mm.io.image import UnreadableImageError, decode_image

T = TypeVar('T')
SPOTS = 32  # files opened of each kind unless all are


@dataclass(frozen=True)
class Layout:
    """What a data set must look like in its folder.

    Attributes:
        root (str): Its folder, unless a command or a config names another.
        check (callable): ``check(checker, **options)``, which reports to a :class:`Checker`.
        fixes (tuple): Pairs of a glob pattern and what to do about a missing or damaged file
            whose path matches; the first match counts, so the last pattern is ``'*'``.
        images (dict): Split -> images of the complete data set.
        parts (tuple): What to look at unless a config says, in its words: dicts with
            ``data_prefix`` and, where images are listed, ``ann_file``, relative to the root.
    """

    root: str
    check: Callable[..., None]
    fixes: tuple[tuple[str, str], ...]
    images: dict[str, int] = field(default_factory=dict)
    parts: tuple[dict[str, Any], ...] = ()


@dataclass
class LayoutReport:
    """What a check found.

    Attributes:
        name (str): Of the layout, ``'coco'``.
        root (str): The folder that was looked at.
        problems (list[str]): What would break or distort a run; each names the file or folder
            and the fix, in one line.
        notes (list[str]): What is legal and worth knowing, such as that it is a sample.
        counts (dict[str, int]): What there is, by name, ``{'train images': 118287}``.
    """

    name: str
    root: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether a run may start."""
        return not self.problems

    def lines(self) -> list[str]:
        """The report as text, the problems last, next to the prompt."""
        counted = ', '.join(f'{value:,} {name}' for name, value in self.counts.items())
        return [
            f'{self.name} in {self.root}: {counted or "nothing"}',
            *(f'note: {note}' for note in self.notes),
            *(f'PROBLEM: {problem}' for problem in self.problems),
        ]


class Checker:
    """Looks at one data set's folder and collects a :class:`LayoutReport`.

    Args:
        name (str): Of the layout.
        layout (Layout): What is expected.
        root (str): The folder.
        every_file (bool): Open every file, not a few.
        progress (bool): Show progress bars.
    """

    def __init__(
        self, name: str, layout: Layout, root: str, every_file: bool = False, progress: bool = False
    ) -> None:
        self.layout, self.root = layout, root
        self.every_file, self.progress = every_file, progress
        self.report = LayoutReport(name, root)
        self._listings: dict[str, set[str]] = {}
        self._missing_folders: set[str] = set()

    def problem(self, text: str, fix: str | None = None, path: str = '') -> None:
        """Report a problem with the fix that is given, or else the layout's for ``path``."""
        if fix is None:
            fix = next(words for pattern, words in self.layout.fixes if fnmatch(path, pattern))
        self.report.problems.append(f'{text}; {fix}')

    def note(self, text: str) -> None:
        """Report something that is legal and worth knowing."""
        self.report.notes.append(text)

    def has_root(self) -> bool:
        """Whether the root is a folder; otherwise that is a problem."""
        if self.root and not os.path.isdir(self.root):
            self.problem(f'{self.root} is not a folder', path=self.root)
            return False
        return True

    def is_file(self, path: str) -> bool:
        """Whether a file exists, by a listing of its folder that is made only once."""
        folder, name = os.path.split(path)
        if folder not in self._listings:
            self._listings[folder] = list_names(folder)
        return name in self._listings[folder]

    def existing(self, paths: Sequence[str], what: str) -> set[str]:
        """Those of the paths that exist; the others are a problem."""
        missing = [path for path in paths if not self.is_file(path)]
        if len(missing) == len(paths) and paths:
            folder = os.path.dirname(missing[0])
            if not self._listings[folder]:
                # Reported once, as several lists may name files in this folder.
                if folder not in self._missing_folders:
                    text = f'{folder} does not exist or is empty, and {len(paths):,} {what} '
                    self.problem(text + 'should be in it', path=missing[0])
                self._missing_folders.add(folder)
                return set()
        if missing:
            text = f'{len(missing):,} of {len(paths):,} {what} are missing: {some(missing)}'
            self.problem(text, path=missing[0])
        return set(paths).difference(missing)

    def open_files(
        self, items: Sequence[T], find_fault: Callable[[T], str], what: str, fix: str | None = None
    ) -> None:
        """Open a few files, or all, in threads, and report the faults that are found.

        Args:
            items (sequence): Of any kind; their text is shown.
            find_fault (callable): What is wrong with an item, or an empty text.
            what (str): Name of the items, in the plural.
            fix (str, optional): See :meth:`problem`.
        """
        chosen = items if self.every_file else spread(items, SPOTS)
        self.report.counts[f'{what} opened'] = len(chosen)
        with ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1)) as pool:
            faults = list(
                tqdm(
                    pool.map(find_fault, chosen),
                    total=len(chosen),
                    unit='file',
                    disable=not self.progress,
                )
            )
        bad = [(item, fault) for item, fault in zip(chosen, faults, strict=True) if fault]
        if bad:
            names = [f'{item} ({fault})' for item, fault in bad]
            text = f'{len(bad):,} of {len(chosen):,} {what} opened are faulty: {some(names)}'
            self.problem(text, fix, str(bad[0][0]))
            if not self.every_file:
                self.report.problems[-1] += ', and look at all with --all'

    def compare_counts(self, found: dict[str, int]) -> None:
        """Count the images of splits, and note those that are not complete."""
        self.report.counts.update({f'{split} images': count for split, count in found.items()})
        wanted = self.layout.images
        off = [
            f'{split} has {count:,} of {wanted[split]:,} images'
            for split, count in found.items()
            if count != wanted.get(split, count)
        ]
        if off:
            self.note(f'a sample: {", ".join(off)}')


def list_names(folder: str) -> set[str]:
    """Names in a folder without hidden ones; empty where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if not entry.name.startswith('.')}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def split_names(folder: str) -> tuple[list[str], list[str]]:
    """Sorted names of sub-folders and of files in a folder, without hidden ones.

    Links are followed. The kind comes with the listing, without a system call for each file.
    """
    folders: list[str] = []
    files: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith('.'):
                (folders if entry.is_dir() else files).append(entry.name)
    return sorted(folders), sorted(files)


def spread(items: Sequence[T], count: int) -> list[T]:
    """``count`` of the items at even distances, or all where there are fewer."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def some(names: Iterable, most: int = 3) -> str:
    """The first few of many names: ``'a, b, c and 7 more'``."""
    names = [str(name) for name in names]
    left = len(names) - most
    return ', '.join(names[:most]) + (f' and {left:,} more' if left > 0 else '')


def in_one_line(error: Exception) -> str:
    """The text of an error, or its type where it has none."""
    return ' '.join(str(error).split()) or type(error).__name__


def unreadable(path: str, size: tuple[int, int] | None = None) -> str:
    """Why an image file cannot be decoded, or is not (width, height); empty if all is well."""
    try:
        with open(path, 'rb') as file:
            data = file.read()
        if not data:
            return 'an empty file'
        height, width = decode_image(data).shape[:2]
    except (UnreadableImageError, OSError) as error:
        return in_one_line(error)
    if size is not None and (width, height) != size:
        return f'{width} x {height}, not {size[0]} x {size[1]}'
    return ''
