"""What VOC and Cityscapes share: images with a map of labels each."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from .files import in_threads, list_names, spread, unreadable
from .report import LayoutReport, some

IGNORED = 255  # the label of pixels that are neither taught nor scored
SPOTS = 32  # pairs opened of each split unless all are


class Pair(NamedTuple):
    """Paths of an image and of its labels."""

    image: str
    labels: str


class Folders:
    """Names in folders, each folder listed once."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def names(self, folder: str) -> set[str]:
        """Names in the folder itself; none where it does not exist."""
        if folder not in self._names:
            self._names[folder] = list_names(folder)
        return self._names[folder]

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        folder, name = os.path.split(path)
        return name in self.names(folder)


def check_pairs(
    pairs: Sequence[Pair],
    folders: Folders,
    split: str,
    num_classes: int,
    fix: str,
    labels_fix: str,
    every_file: bool,
    progress: bool,
    report: LayoutReport,
) -> None:
    """Whether all files are there; open some or all of them and look at sizes and labels.

    Args:
        pairs (sequence): The split's images and labels.
        folders (Folders): Listings, which splits may share.
        split (str): What to call it.
        num_classes (int): Labels are 0 to ``num_classes - 1``, and 255.
        fix (str): What to do about absent images.
        labels_fix (str): What to do about absent labels.
    """
    for kind, remedy in (('image', fix), ('labels', labels_fix)):
        absent = [path for path in (getattr(pair, kind) for pair in pairs) if not folders.has(path)]
        if absent:
            report.problems.append(
                f'{len(absent):,} of {len(pairs):,} files of {kind.rstrip("s")}s of {split} are not '
                f'there: {some(absent)}; {remedy}'
            )
    there = [pair for pair in pairs if folders.has(pair.image) and folders.has(pair.labels)]
    looked = there if every_file else spread(there, SPOTS)
    report.counts[f'{split} opened'] = len(looked)
    bad = [
        f'{pair.labels} ({why})'
        for pair, why in in_threads(
            lambda pair: find_fault(pair, num_classes, every_file), looked, progress
        )
    ]
    if bad:
        report.problems.append(
            f'{len(bad):,} of {len(looked):,} files of labels opened of {split} are faulty: '
            f'{some(bad)}; mend them or take them off the list'
            + ('' if every_file else ', and look at all with --all')
        )


def find_fault(pair: Pair, num_classes: int, decode: bool = True) -> str:
    """Why an image and its labels cannot be trained on; empty if they can.

    Args:
        decode (bool): Decode the image, too, instead of reading its size alone.
    """
    try:
        with Image.open(pair.labels) as labels:
            if labels.mode not in ('P', 'L'):
                return (
                    f'colours or deep pixels, {labels.mode}, where a palette or 8 bits of grey '
                    'must hold the labels'
                )
            size, counts = labels.size, labels.histogram()
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow's readers raise
        return _why(error)
    wrong = [
        label for label, count in enumerate(counts) if count and num_classes <= label != IGNORED
    ]
    if wrong:
        return f'label {some(wrong)}, where 0 to {num_classes - 1} and {IGNORED} exist'
    try:
        with Image.open(pair.image) as image:
            if image.size != size:
                return f'{size[0]} x {size[1]}, its image {image.size[0]} x {image.size[1]}'
    except (OSError, ValueError, SyntaxError) as error:
        return f'its image: {_why(error)}'
    reason = unreadable(pair.image) if decode else ''
    return f'its image: {reason}' if reason else ''


def _why(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__


def note_counts(
    found: dict[str, int], whole: dict[str, int], what: str, report: LayoutReport
) -> None:
    """Count the splits, and note those that are not as large as the data set's."""
    report.counts.update({f'{split} images': count for split, count in found.items()})
    off: list[str] = [
        f'{split} has {count:,} of {whole[split]:,}'
        for split, count in found.items()
        if split in whole and count != whole[split]
    ]
    if off:
        report.notes.append(f'not all of {what}: {", ".join(off)} images')
