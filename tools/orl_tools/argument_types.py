"""Types of command-line arguments: paths that exist, configs, positive numbers."""

import argparse
import difflib
import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path


def config_path(name: str) -> str:
    """Type of an argument: a config file, or ``package::path`` of an installed package.

    ``orl_mm::path`` also finds the configs of a checkout.

    Returns:
        str: The path of the file.

    Raises:
        argparse.ArgumentTypeError: There is no such file or package.
    """
    package, colons, relative = name.rpartition('::')
    if not colons:
        if os.path.isfile(name):
            return name
        known = {str(path) for path in Path(name).parent.glob('*.py')}
        known |= {str(p) for p in Path('configs').rglob('*.py') if '_base_' not in p.parts}
        hint = did_you_mean(name, known, "type it from the repository's root, see configs/")
        raise argparse.ArgumentTypeError(f'config {name!r} does not exist; {hint}')
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or spec.origin is None:
        raise argparse.ArgumentTypeError(f'config {name!r}: {package!r} is not installed')
    folder = Path(spec.origin).parent
    places = [folder / '.mim' / 'configs', *[folder.parent / 'configs'] * (package == 'orl_mm')]
    for place in places:
        if (place / relative).is_file():
            return str(place / relative)
    known = {f'{package}::{p.relative_to(root)}' for root in places for p in root.rglob('*.py')}
    hint = did_you_mean(name, known, f'see {places[0]}')
    raise argparse.ArgumentTypeError(f'config {name!r} does not exist; {hint}')


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    near = difflib.get_close_matches(word, sorted(known), 1)
    return f'did you mean {near[0]!r}?' if near else otherwise


def existing_file(path: str) -> str:
    """Type of an argument: a file that exists, such as a checkpoint; URLs pass unchecked."""
    if '://' in path or os.path.isfile(path):
        return path
    near = sorted(map(str, Path(path).parent.glob(f'*{Path(path).suffix}')))
    hint = f'its folder has {", ".join(near[:5])}' if near else 'neither does any like it'
    raise argparse.ArgumentTypeError(f'{path!r} does not exist; {hint}')


def existing_folder(path: str) -> str:
    """Type of an argument: a folder that exists."""
    if os.path.isdir(path):
        return path
    raise argparse.ArgumentTypeError(f'{path!r} is no folder')


def existing_path(path: str) -> str:
    """Type of an argument: a file or folder that exists."""
    if os.path.exists(path):
        return path
    raise argparse.ArgumentTypeError(f'{path!r} does not exist')


def positive(text: str) -> int:
    """Type of an argument: an integer of at least 1."""
    if text.isdigit() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError(f'{text!r} must be at least 1')
