"""The JSON file of a cache that says how its maps were made."""

import json
import os
import shlex
from collections.abc import Sequence

from orl_mm.io.files import FileStore

from .entry import CacheError
from .spec import MapSpec

FORMAT = 1
LMDB_SUFFIX = '.lmdb'  # of the database that holds a copy of a cache


def read_provenance(folder: str, kind: type[MapSpec]) -> dict | None:
    """The provenance of a cache; None if the folder is no cache of this kind.

    Returns:
        dict: ``spec`` (see :meth:`MapSpec.to_dict`), ``format``, ``root`` (folder of the images,
        absolute), ``root_from_here`` (the same, relative to the cache), ``source`` (arguments
        that name the images), ``complete``, ``images``, ``unreadable`` and more counts.

    Raises:
        CacheError: The file is damaged.
    """
    store, name = FileStore(folder), f'{kind.name}.json'
    path = store.path(name)
    try:
        data = store.get(name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        found = json.loads(data)
        if 'spec' not in found:  # of convert_cxr.py and make_phantom.py before version 0.2
            found = dict(spec=found, root='')
        dict(found['spec']), str(found['root'])
    except (ValueError, KeyError, TypeError) as error:
        raise CacheError(
            f'{path} is damaged ({error!r}); delete it and build the cache again with the same '
            'arguments, finished files are kept'
        ) from error
    return found


def differences(have: dict, want: dict, prefix: str = '') -> list[str]:
    """How a spec differs from the wanted one, such as ``size 224 instead of 256``."""
    words = []
    for name in sorted({*have, *want}):
        a, b = have.get(name), want.get(name)
        if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
            words += differences(a, b, f'{prefix}{name}.')
        elif a != b:
            words.append(f'{prefix}{name} {a!r} instead of {b!r}')
    return words


def spec_differences(provenance: dict, want: dict) -> list[str]:
    """How a cache differs from the wanted spec; empty if its maps can be used."""
    words = differences(provenance['spec'], json.loads(json.dumps(want)))
    if provenance.get('format') != FORMAT:
        words.append(f'format {provenance.get("format")} instead of {FORMAT}')
    return words


def roots(folder: str, provenance: dict) -> list[str]:
    """Where the images may be: as recorded, or moved together with the cache."""
    found = [provenance['root']]
    if 'root_from_here' in provenance:
        found.append(os.path.normpath(os.path.join(folder, provenance['root_from_here'])))
    return found


def build_command(kind: type[MapSpec], folder: str, words: Sequence[str], *flags: str) -> str:
    """The command that builds a cache."""
    out = [] if kind.out_is_positional else ['--out', folder]
    command = ['python', f'tools/{kind.tool}.py', *words, *out, *flags]
    return ' '.join(shlex.quote(word) for word in command)
