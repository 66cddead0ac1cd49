"""Find images in folders, and read text files with one image, class or id a line."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

IMAGE_EXTENSIONS = (
    '.jpg',
    '.jpeg',
    '.png',
    '.bmp',
    '.webp',
    '.tif',
    '.tiff',
    '.ppm',
    '.pgm',
    '.gif',
)
XRAY_EXTENSIONS = (*IMAGE_EXTENSIONS, '.dcm', '.dicom', '.img')
_SHIPPED = Path(__file__).parents[1] / 'datasets'
CLASS_LISTS = _SHIPPED / 'class_lists'
SPLITS = _SHIPPED / 'splits'


def find_images(root: str, extensions: Sequence[str] = IMAGE_EXTENSIONS) -> Iterator[str]:
    """Paths of all images below a folder, sorted within each folder.

    Hidden files and folders are left out; links to folders are followed, each
    folder once.
    """
    seen = set()

    def walk(folder: str) -> Iterator[str]:
        real = os.path.realpath(folder)
        if real in seen:
            return
        seen.add(real)
        with os.scandir(folder) as it:
            entries = sorted(it, key=lambda entry: entry.name)
        for entry in entries:
            if entry.name.startswith('.'):
                continue
            if entry.name.lower().endswith(tuple(extensions)) and entry.is_file():
                yield entry.path
            elif entry.is_dir():
                yield from walk(entry.path)

    yield from walk(root)


def absent_files(paths: Sequence[str]) -> list[str]:
    """Those of many paths at which there is nothing; each folder is listed once."""
    listed, absent = {}, []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = set(os.listdir(folder or '.')) if os.path.isdir(folder or '.') else ()
        if name not in listed[folder]:
            absent.append(path)
    return absent


def read_class_list(name: str) -> list[str]:
    """The folder names of a class list, by path or by the name of a shipped one."""
    shipped = CLASS_LISTS / f'{name}.txt'
    return read_lines(str(shipped) if shipped.is_file() else name, 'classes_file')


def read_lines(path: str, what: str) -> list[str]:
    """The non-empty lines of a text file, or of a list in ``splits`` by its name.

    Raises:
        ValueError: The file is missing or empty.
    """
    shipped = SPLITS / f'{path}.txt'
    if not os.path.isfile(path) and shipped.is_file():
        path = str(shipped)
    if not os.path.isfile(path):
        names = sorted(file.stem for file in SPLITS.glob('*.txt'))
        raise ValueError(f'{what}={path!r} is no file, and no list that is shipped: {names}')
    with open(path, encoding='utf-8') as file:
        lines = [line.strip() for line in file]
    lines = [line for line in lines if line]
    if not lines:
        raise ValueError(f'{what}={path!r} has no lines')
    return lines
