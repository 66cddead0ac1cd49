"""Semantic segmentation: images with a label map each, as VOC and Cityscapes have."""

import glob
import os
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from .checker import Checker, in_one_line, some, unreadable

IGNORED = 255  # the label of pixels that are neither trained on nor scored


class Pair(NamedTuple):
    """Paths of an image and of its label map."""

    image: str
    labels: str

    def __str__(self) -> str:
        return self.labels


def check_label_maps(
    check: Checker,
    num_classes: int,
    image_suffix: str,
    label_suffix: str,
    parts: Sequence[dict] | None = None,
) -> None:
    """Every image and its label map must exist, have one size, and hold valid labels.

    Images are the names of ``ann_file`` where a part has one, which no other list may repeat;
    otherwise all files with ``image_suffix`` in the folder and in its sub-folders.

    Args:
        check (Checker): Where to report.
        num_classes (int): Labels are 0 to ``num_classes - 1``, and 255 for ignored pixels.
        image_suffix, label_suffix (str): Follow the name of an image.
        parts (sequence, optional): See :class:`~.checker.Layout`.
    """
    if not check.has_root():
        return
    found: dict[str, list[str]] = {}  # list or folder -> the names of a list
    sizes: dict[str, int] = {}
    for part in check.layout.parts if parts is None else parts:
        prefix = part['data_prefix']
        images, labels = (os.path.join(check.root, prefix[k]) for k in ('img_path', 'seg_map_path'))
        listed = bool(part.get('ann_file'))
        source = os.path.join(check.root, part['ann_file']) if listed else images
        if source in found:  # the same for validation and test
            continue
        names = _read_list(check, source) if listed else _find(images, image_suffix)
        if not names and not listed:
            check.problem(f'there is no image *{image_suffix} below {images}', path=images)
        split = os.path.splitext(os.path.basename(os.path.normpath(source)))[0]
        found[source], sizes[split] = names if listed else [], len(names)
        pairs = [
            Pair(os.path.join(images, n + image_suffix), os.path.join(labels, n + label_suffix))
            for n in names
        ]
        have_image = check.existing([pair.image for pair in pairs], f'images of {split}')
        have_labels = check.existing([pair.labels for pair in pairs], f'label maps of {split}')
        check.open_files(
            [pair for pair in pairs if pair.image in have_image and pair.labels in have_labels],
            lambda pair: find_fault(pair, num_classes, check.every_file),
            f'label maps of {split}',
            'repair them or take them off the list',
        )
    _check_overlap(check, found)
    check.compare_counts(sizes)


def find_fault(pair: Pair, num_classes: int, decode: bool = True) -> str:
    """Why an image and its label map cannot be trained on; empty if they can.

    Without ``decode`` only the size of the image is read.
    """
    try:
        with Image.open(pair.labels) as labels:
            if labels.mode not in ('P', 'L'):
                return f'a label map must be an 8-bit palette or gray image, not {labels.mode}'
            size, counts = labels.size, labels.histogram()
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow's readers raise
        return in_one_line(error)
    wrong = [i for i, count in enumerate(counts) if count and num_classes <= i != IGNORED]
    if wrong:
        return f'label {some(wrong)}, which is not among 0 to {num_classes - 1} and {IGNORED}'
    try:
        with Image.open(pair.image) as image:
            if image.size != size:
                return f'{size[0]} x {size[1]}, its image {image.size[0]} x {image.size[1]}'
    except (OSError, ValueError, SyntaxError) as error:
        return f'its image: {in_one_line(error)}'
    reason = unreadable(pair.image) if decode else ''
    return f'its image: {reason}' if reason else ''


def _find(folder: str, suffix: str) -> list[str]:
    """Names of images below a folder, without the suffix."""
    paths = glob.glob(os.path.join(glob.escape(folder), '**', f'*{suffix}'), recursive=True)
    return sorted(os.path.relpath(path, folder)[: -len(suffix)] for path in paths)


def _read_list(check: Checker, path: str) -> list[str]:
    """Names of a list; none, and a problem, where it cannot be used."""
    if not os.path.isfile(path):
        check.problem(f'there is no list {path}', path=path)
        return []
    with open(path, encoding='utf-8') as file:
        lines = [line.strip() for line in file]
    names = [line for line in lines if line]
    if not names:
        check.problem(f'the list {path} is empty', path=path)
    elif len(names) < len(lines):
        check.problem(
            f'{path} has {len(lines) - len(names)} empty lines, which would be read as images '
            'without a name',
            'remove them',
        )
    odd = [name for name in names if name.split()[0] != name or name.endswith(('.jpg', '.png'))]
    text = f'lines of {path} are not bare names such as 2007_000032'
    check.problem_of(odd, text, 'write one name per line, without folder and suffix')
    return [] if odd else names


def _check_overlap(check: Checker, found: dict[str, list[str]]) -> None:
    """No name twice: test images must not be trained on, and training images count once."""
    where: dict[str, str] = {}
    for source, names in found.items():
        twice: dict[str, list[str]] = {}
        for name in names:
            if name in where:
                twice.setdefault(where[name], []).append(name)
            where[name] = source
        for other, shared in twice.items():
            pair = f'{source} and {other}' if other != source else f'{source}, twice'
            check.problem_of(shared, f'images are in {pair}', path=source)
