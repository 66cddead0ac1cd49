"""Find images in folders, and read text files with one image, class or id a line."""

import gzip
import io
import logging
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine.logging import print_log

from orl_mm.errors import UserError

IMAGE_EXTENSIONS = (
    '.jpg',
    '.jpeg',
    '.jpe',
    '.jfif',
    '.png',
    '.bmp',
    '.webp',
    '.tif',
    '.tiff',
    '.ppm',
    '.pgm',
    '.pbm',
    '.pnm',
    '.jp2',
    '.gif',
)
# Files that mark a folder as this project's own output: no images to train on. The map caches
# write theirs first (MapSpec.name), a work directory its own with the first checkpoint.
OUTPUTS = {
    'superpixels.json': 'cached superpixels',
    'templates.json': 'registered templates',
    'last_checkpoint': 'the work directory of a run',
}
GRACE = 1000  # max_bad is a fraction of at least this many images
XRAY_EXTENSIONS = (*IMAGE_EXTENSIONS, '.dcm', '.dicom', '.img')
_SHIPPED = Path(__file__).parents[1] / 'datasets'
CLASS_LISTS = _SHIPPED / 'class_lists'
SPLITS = _SHIPPED / 'splits'


def find_images(
    root: str,
    extensions: Sequence[str] = IMAGE_EXTENSIONS,
    bad: list[tuple[str, str]] | None = None,
    deep: bool = True,
) -> Iterator[str]:
    """Paths of all images below a folder, sorted within each folder.

    Hidden files and folders are left out; links to folders are followed, each folder once.
    Folders that hold outputs of this project (:data:`OUTPUTS`) are left out with a warning.

    Args:
        root (str): The folder.
        extensions (sequence): Endings of images, in lower case.
        bad (list, optional): Gets (path, reason) of what looks like an image or folder and cannot
            be used; for :func:`report_bad`. Default: it is logged.
        deep (bool): Sub-folders, too.

    Raises:
        OSError: ``root`` itself cannot be listed.
    """
    unusable: list[tuple[str, str]] = [] if bad is None else bad
    seen, others, endings = set(), Counter[str](), tuple(extensions)

    def walk(folder: str) -> Iterator[str]:
        real = os.path.realpath(folder)
        if real in seen:
            others['folders reached twice'] += 1
            return
        seen.add(real)
        try:
            with os.scandir(folder) as it:
                entries = sorted(it, key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise
            unusable.append((folder, error.strerror or str(error)))
            return
        marks = [OUTPUTS[entry.name] for entry in entries if entry.name in OUTPUTS]
        if marks and deep and folder != root:
            print_log(f'left out: {folder} holds {marks[0]}', 'current', logging.WARNING)
            return
        for entry in entries:
            if entry.name.startswith('.'):
                continue
            image = entry.name.lower().endswith(endings)
            try:
                entry.path.encode()
                is_file, is_folder = entry.is_file(), entry.is_dir()
            except UnicodeEncodeError:
                name = os.fsencode(entry.path).decode('utf-8', 'backslashreplace')
                unusable.append((name, 'its name is not UTF-8; rename it'))
                continue
            except OSError as error:  # such as a link to itself
                unusable.append((entry.path, error.strerror or str(error)))
                continue
            if image and is_file:
                yield entry.path
            elif image and not (is_folder and '' in endings):
                kind = (
                    'folder' if is_folder else 'dangling link' if entry.is_symlink() else 'device'
                )
                unusable.append((entry.path, f'a {kind}, no file'))
            elif is_file:
                others[f'{os.path.splitext(entry.name)[1] or "other"} files'] += 1
            if is_folder and deep:
                yield from walk(entry.path)

    yield from walk(root)
    if others:
        words = ', '.join(f'{count} {what}' for what, count in others.most_common(10))
        print_log(f'left out below {root}: {words}', 'current', logging.DEBUG)
    if bad is None:
        report_bad(unusable, 0, 1.0, root)


def report_bad(bad: Sequence[tuple[str, str]], good: int, max_bad: float, where: str) -> None:
    """Log how many images cannot be used, and the first of them.

    Args:
        bad (sequence): (path, reason) of each.
        good (int): How many there are besides.
        max_bad (float): The fraction of unusable ones that is accepted, of at least 1000 images.
        where (str): What they were found in.

    Raises:
        UserError: There are more.
    """
    if not bad:
        return
    path, reason = bad[0]
    what = f'{where}: {len(bad)} of {len(bad) + good} cannot be used, first {path} ({reason})'
    if len(bad) > max_bad * max(len(bad) + good, GRACE):
        raise UserError(f'{what}; more than max_bad={max_bad} allows: repair or remove them')
    print_log(f'{what}; they are left out', 'current', logging.WARNING)


def check_inside(paths: Sequence[str], root: str, source: str) -> None:
    """Raise ValueError for the first path that leads out of a folder by its text."""
    inside = os.path.join(os.path.abspath(root), '')
    for path in paths:
        if not os.path.abspath(path).startswith(inside):
            raise ValueError(
                f'{source} names {path}, which is not below {root}: refused by confine=True'
            )


def absent_files(paths: Sequence[str]) -> list[str]:
    """Those of many paths at which there is no file; each folder is listed once."""
    listed: dict[str, set[str]] = {}
    absent = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listed:
            try:
                with os.scandir(folder or '.') as entries:
                    listed[folder] = {entry.name for entry in entries if entry.is_file()}
            except OSError:
                listed[folder] = set()
        if name not in listed[folder]:
            absent.append(path)
    return absent


def read_text(path: str) -> str:
    """A text file: UTF-8 or UTF-16, with or without a byte order mark, also compressed by gzip.

    Raises:
        ValueError: Naming the file; another encoding is not guessed.
    """
    with open(path, 'rb') as file:
        data = file.read()
    try:
        if data[:2] == b'\x1f\x8b':
            data = gzip.decompress(data)
        if data[:4] == b'PK\3\4':
            raise ValueError(f'{path} is a zip archive, perhaps of Excel: save it as text (csv)')
        wide = data[:2] in (b'\xff\xfe', b'\xfe\xff')
        text = data.decode('utf-16' if wide else 'utf-8-sig')
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f'{path} cannot be unpacked: {error}') from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b'\n') + 1
        raise ValueError(
            f'{path} is not UTF-8 (byte 0x{data[error.start]:02x} in line {line}); convert it, for '
            f'example from Latin-1: iconv -f LATIN1 -t UTF-8 {path}'
        ) from error
    if '\0' in text:
        raise ValueError(f'{path} has zero bytes: it is no text, or UTF-16 without its mark')
    return text


def read_class_list(name: str) -> list[str]:
    """The folder names of a class list, by path or by the name of a shipped one.

    Raises:
        ValueError: The file is missing or empty, or has a name more than once.
    """
    shipped = CLASS_LISTS / f'{name}.txt'
    names = read_lines(str(shipped) if shipped.is_file() else name, 'classes_file')
    if len(set(names)) < len(names):
        twice = sorted({c for c in names if names.count(c) > 1})
        raise ValueError(f'{name} names {", ".join(twice[:5])} more than once')
    return names


def read_lines(path: str, what: str) -> list[str]:
    """The non-empty lines of a text file, or of a list in ``splits`` by its name.

    Raises:
        ValueError: The file is missing or empty, or see :func:`read_text`.
    """
    shipped = SPLITS / f'{path}.txt'
    if not os.path.isfile(path) and shipped.is_file():
        path = str(shipped)
    if not os.path.isfile(path):
        names = sorted(file.stem for file in SPLITS.glob('*.txt'))
        raise ValueError(f'{what}={path!r} is no file, and no list that is shipped: {names}')
    lines = [line.strip() for line in io.StringIO(read_text(path), newline=None)]
    lines = [line for line in lines if line]
    if not lines:
        raise ValueError(f'{what}={path!r} has no lines')
    return lines
