"""Label columns of csv files as numbers, and random subsets of patients."""

import csv
import difflib
import gc
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from orl_mm.io.image_list import read_text

Policy = str | dict[str, str]
POLICIES = dict(zeros=0.0, ones=1.0, ignore=np.nan)
UNCERTAIN = -1.0


@contextmanager
def without_gc() -> Iterator[None]:
    """Switch garbage collection off, which halves the time to make a million small lists."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_table(path: str) -> dict[str, list[str]]:
    """A csv file with a header as column -> cells, all text.

    Cells are separated by what the header has most of: commas, semicolons or tabs. The column
    without a name that pandas writes for its index is left out. See
    :func:`~orl_mm.io.image_list.read_text` for encodings.

    Raises:
        ValueError: No file, no rows, a repeated column, a row of another length, or no text.
    """
    if not os.path.isfile(path):
        raise ValueError(f'ann_file={path!r} is not a file')
    text = read_text(path).lstrip('\r\n')
    separator = max(',;\t', key=text.split('\n', 1)[0].count)
    try:
        reader = csv.reader(io.StringIO(text, newline=''), delimiter=separator)
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise ValueError(f'{path} is no csv file: {error}') from error
    if len(rows) < 2:
        raise ValueError(f'{path} has no rows below a header')
    header = [name.strip() for name in rows.pop(0)]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f'{path} has the columns {twice} twice')
    for i, row in enumerate(rows):
        if len(row) != len(header):
            raise ValueError(
                f'{path}, row {i + 1} below the header: {len(row)} cells under '
                f'{len(header)} column names'
            )
    table = dict(zip(header, map(list, zip(*rows, strict=False)), strict=False))
    for index in ('', 'Unnamed: 0'):
        table.pop(index, None)
    return table


def without_repeats(
    table: dict[str, list[str]], image: str, columns: Sequence[str], path: str
) -> tuple[dict[str, list[str]], int]:
    """Leave out repeated rows of an image.

    Returns:
        tuple: The table, and the number of rows left out.

    Raises:
        ValueError: Two rows of an image have different labels.
    """
    first: dict[str, int] = {}
    for i, name in enumerate(table[image]):
        first.setdefault(name, i)
    repeats = len(table[image]) - len(first)
    if not repeats:
        return table, 0
    for i, name in enumerate(table[image]):
        differ = [c for c in columns if table[c][i] != table[c][first[name]]]
        if differ:
            cells = {c: (table[c][first[name]], table[c][i]) for c in differ[:3]}
            raise ValueError(
                f'{path}, rows {first[name] + 1} and {i + 1} below the header contradict '
                f'each other on {name}: {cells}; keep one of them'
            )
    kept = list(first.values())
    return {column: [cells[i] for i in kept] for column, cells in table.items()}, repeats


def require_columns(table: dict[str, list[str]], wanted: Sequence[str], path: str) -> None:
    """Raise ValueError for missing columns, with the most similar names that exist."""
    missing = [name for name in wanted if name not in table]
    if not missing:
        return
    near = {name: difflib.get_close_matches(name, table, 1) for name in missing}
    hints = ', '.join(
        f'{name!r}' + (f' (is it {found[0]!r}?)' if found else '') for name, found in near.items()
    )
    raise ValueError(f'{path} lacks the columns {hints}; it has {list(table)}')


def read_labels(table: dict[str, list[str]], columns: Sequence[str], path: str) -> np.ndarray:
    """Label cells as (N, C) float32: 1, 0, -1 where uncertain, NaN where blank.

    Raises:
        ValueError: Any other cell, with its row and column.
    """
    known = {
        text: value
        for value in (0.0, 1.0, UNCERTAIN)
        for text in (f'{value:g}', f'{value:.1f}', f'{value:.2f}')
    }
    known.update({text: np.nan for text in ('', 'nan', 'NaN', 'None')})
    out = np.empty((len(table[columns[0]]) if columns else 0, len(columns)), np.float32)
    for c, name in enumerate(columns):
        cells = table[name]
        try:
            out[:, c] = [known[cell] for cell in cells]
        except KeyError:
            i = next(i for i, cell in enumerate(cells) if cell not in known)
            raise ValueError(
                f'{path}, row {i + 1}, column {name!r}: {cells[i]!r} is not a label: '
                '1, 0, -1 (uncertain) or blank'
            ) from None
    return out


def resolve_labels(
    labels: np.ndarray, columns: Sequence[str], uncertain: Policy | None, blank: str
) -> np.ndarray:
    """Replace uncertain and blank labels by their policies: (N, C) of 0, 1 and NaN (unknown).

    Raises:
        ValueError: A column has uncertain labels, and no policy was chosen.
    """
    out = np.where(np.isnan(labels), np.float32(POLICIES[blank]), labels)
    for c, name in enumerate(columns):
        where = labels[:, c] == UNCERTAIN
        if not where.any():
            continue
        policy = policy_of(uncertain, name)
        if policy is None:
            raise ValueError(
                f'{int(where.sum())} of {len(where)} labels of {name!r} are uncertain (-1): choose '
                "uncertain='zeros', 'ones', 'ignore', or a dict of classes and 'default'"
            )
        out[where, c] = POLICIES[policy]
    return out


def check_policies(uncertain: Policy | None, blank: str, columns: Sequence[str]) -> None:
    """Raise ValueError for an unknown policy, or one of an unknown class."""
    for policy in (blank, *(uncertain.values() if isinstance(uncertain, dict) else [uncertain])):
        if policy is not None and policy not in POLICIES:
            raise ValueError(
                f'{policy!r} is not a policy for labels; choose one of {list(POLICIES)}'
            )
    if isinstance(uncertain, dict):
        unknown = sorted(set(uncertain) - set(columns) - {'default'})
        if unknown:
            raise ValueError(
                f'uncertain names {unknown}, which are not among the classes {list(columns)}'
            )


def policy_of(uncertain: Policy | None, name: str) -> str | None:
    """The policy of one class."""
    if isinstance(uncertain, dict):
        return uncertain.get(name, uncertain.get('default'))
    return uncertain


def draw_patients(patients: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Select a random fraction of the patients, at least one: rows (N,) bool.

    A seed determines an order of the patients, whose first ones are taken, so that the 1% are
    among the 10%.
    """
    names, inverse = np.unique(patients, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    taken = np.zeros(len(names), bool)
    taken[order[: max(1, round(fraction * len(names)))]] = True
    return taken[inverse]


def one_class_columns(scores: np.ndarray, columns: Sequence[str]) -> dict[str, str]:
    """Columns that lack 0 or 1 -> what they hold."""
    found = {}
    for c, name in enumerate(columns):
        values = np.unique(scores[:, c][~np.isnan(scores[:, c])])
        if len(values) < 2:
            found[name] = f'only {values[0]:g}' if len(values) else 'no label'
    return found
