"""What all checks of data sets share: listing folders, opening files, collecting problems."""

import os
from collections.abc import Callable, Collection, Sequence
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
            whose path matches. The first match counts, so the last pattern is ``'*'``.
        images (dict): Split -> images of the complete data set.
        parts (tuple): What to look at unless a config says so: dicts with ``data_prefix`` and,
            where images are listed, ``ann_file``, as in a config, relative to the root.
    """

    root: str
    check: Callable[..., None]
    fixes: tuple[tuple[str, str], ...]
    images: dict[str, int] = field(default_factory=dict)
    parts: tuple[dict[str, Any], ...] = ()


@dataclass
class Checker:
    """Looks at one data set's folder and collects what it finds.

    Attributes:
        name (str): Of the layout, ``'coco'``.
        layout (Layout): What is expected.
        root (str): The folder.
        every_file (bool): Open every file, not a few.
        progress (bool): Show progress bars.
        problems (list[str]): What would break or distort a run; each names the file or folder
            and the fix, in one line.
        notes (list[str]): What is legal and worth knowing, such as that it is a sample.
        counts (dict[str, int]): What there is, ``{'train images': 118287}``.
    """

    name: str
    layout: Layout
    root: str
    every_file: bool = False
    progress: bool = False
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    _listings: dict[str, dict[str, bool]] = field(default_factory=dict)

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

    def problem(self, text: str, fix: str | None = None, path: str = '') -> None:
        """Report a problem with the given fix, or else the layout's for ``path``; each once."""
        if fix is None:
            fix = next(words for pattern, words in self.layout.fixes if fnmatch(path, pattern))
        if f'{text}; {fix}' not in self.problems:
            self.problems.append(f'{text}; {fix}')

    def problem_of(
        self, items: Collection, text: str, fix: str | None = None, path: str = ''
    ) -> None:
        """Report ``'3 <text>: a, b, c'`` if there are such items."""
        if items:
            self.problem(f'{len(items):,} {text}: {some(items)}', fix, path)

    def has_root(self) -> bool:
        """Whether the root is a folder; otherwise that is a problem."""
        if self.root and not os.path.isdir(self.root):
            self.problem(f'{self.root} is not a folder', path=self.root)
            return False
        return True

    def existing(self, paths: Sequence[str], what: str) -> set[str]:
        """Those of the paths that exist; the others are a problem. Each folder is listed once."""
        for folder in {os.path.dirname(path) for path in paths} - set(self._listings):
            self._listings[folder] = list_folder(folder)
        missing = [
            p for p in paths if os.path.basename(p) not in self._listings[os.path.dirname(p)]
        ]
        folder = os.path.dirname(missing[0]) if missing else ''
        if missing and len(missing) == len(paths) and not self._listings[folder]:
            self.problem(f'{folder} does not exist or is empty', path=missing[0])
        elif missing:
            text = f'of {len(paths):,} {what} are missing'
            self.problem_of(missing, text, path=missing[0])
        return set(paths).difference(missing)

    def open_files(
        self, items: Sequence[T], find_fault: Callable[[T], str], what: str, fix: str | None = None
    ) -> None:
        """Open a few files, or all, in threads, and report the faults.

        Args:
            items (sequence): Of any kind; their text is shown.
            find_fault (callable): What is wrong with an item, or an empty text.
            what (str): Name of the items, in the plural.
            fix (str, optional): See :meth:`problem`.
        """
        chosen = items if self.every_file else spread(items, SPOTS)
        self.counts[f'{what} opened'] = len(chosen)
        with ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1)) as pool:
            found = pool.map(find_fault, chosen)
            bar = tqdm(found, total=len(chosen), unit='file', disable=not self.progress)
            bad = {str(item): why for item, why in zip(chosen, bar, strict=True) if why}
        if bad:
            names = [f'{item} ({why})' for item, why in bad.items()]
            text = f'of {len(chosen):,} {what} opened are faulty'
            self.problem_of(names, text, fix, next(iter(bad)))
            if not self.every_file:
                self.problems[-1] += ', and look at all with --all'

    def compare_counts(self, found: dict[str, int]) -> None:
        """Count the images of splits, and note those that are not complete."""
        self.counts.update({f'{split} images': count for split, count in found.items()})
        wanted = self.layout.images
        off = [
            f'{split} has {count:,} of {wanted[split]:,} images'
            for split, count in found.items()
            if count != wanted.get(split, count)
        ]
        if off:
            self.notes.append(f'a sample: {", ".join(off)}')


def list_folder(folder: str) -> dict[str, bool]:
    """Sorted names in a folder -> whether each is a folder; empty where there is no folder.

    Hidden names are left out and links followed. The kind comes with the listing, without a
    system call for each file.
    """
    try:
        with os.scandir(folder) as entries:
            found = {e.name: e.is_dir() for e in entries if not e.name.startswith('.')}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return dict(sorted(found.items()))


def spread(items: Sequence[T], count: int) -> Sequence[T]:
    """``count`` of the items at even distances, or all where there are fewer."""
    if len(items) <= count:
        return items
    return [items[i * len(items) // count] for i in range(count)]


def some(names: Collection, most: int = 3) -> str:
    """The first few of many names: ``'a, b, c and 7 more'``."""
    shown = ', '.join([str(name) for name in names][:most])
    return shown + (f' and {len(names) - most:,} more' if len(names) > most else '')


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


def in_one_line(error: Exception) -> str:
    """The text of an error, or its type where it has none."""
    return ' '.join(str(error).split()) or type(error).__name__
