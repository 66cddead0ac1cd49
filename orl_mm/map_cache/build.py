"""Build a cache on any executor; a build that was stopped goes on where it was."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

import cv2
import numpy as np

from orl_mm.io.atomic import write_atomic
from orl_mm.io.files import is_local, read_file
from orl_mm.io.image import UnreadableImageError
from orl_mm.io.lmdb_files import Packed, pack

from .entry import CacheError, EntryInfo, checksum, decode_labels, encode_entry, read_entry_info
from .provenance import FORMAT, LMDB_SUFFIX, build_command, read_provenance, roots, spec_differences
from .spec import MapSpec

UNREADABLE = 'unreadable.txt'
_NO_PIXELS = np.zeros(0, np.uint8)


@dataclass(frozen=True)
class BuildJob:
    """All that a worker needs besides the items.

    Args:
        spec (MapSpec): What is computed.
        root (str): Folder of the images, the same on every worker.
        out (str): Folder of the cache, the same on every worker.
        verify (bool): Decode every image and entry again and compare, instead of trusting the
            files' sizes and times.
        source (tuple): The command's arguments that name the images, for messages.
        backend_args (dict, optional): mmengine's file back end of the images. Their times are
            not known then, so finished entries are trusted without ``verify``.
    """

    spec: MapSpec
    root: str
    out: str
    verify: bool = False
    source: tuple[str, ...] = ()
    backend_args: dict | None = None

    @property
    def temp_dir(self) -> str:
        """Folder of unfinished files."""
        return os.path.join(self.out, '.tmp')

    def image(self, source: str) -> str:
        """Path, URL or key of an image."""
        if is_local(self.root, self.backend_args):
            return os.path.join(self.root, source)
        return f'{self.root.rstrip("/")}/{source}' if '://' in self.root else source

    def write(self, relative: str, data: bytes) -> None:
        """Write a file of the cache atomically."""
        write_atomic(os.path.join(self.out, relative), data, self.temp_dir)

    def write_lines(self, relative: str, lines: Iterable[str]) -> None:
        """Write a text file of the cache atomically."""
        self.write(relative, ''.join(f'{line}\n' for line in lines).encode())


@dataclass
class Counts:
    """What became of the images so far.

    Attributes:
        written, skipped (int): Entries that were made, and that were finished already.
        unreadable (list): (image, reason) of those without an entry.
        status (Counter): Entries by their status, see :meth:`MapSpec.status`.
        listed (list): (list file, image) of :attr:`MapSpec.lists`.
    """

    written: int = 0
    skipped: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    status: Counter = field(default_factory=Counter)
    listed: list[tuple[str, str]] = field(default_factory=list)

    def add(self, other: 'Counts') -> None:
        self.written += other.written
        self.skipped += other.skipped
        self.unreadable += other.unreadable
        self.status += other.status
        self.listed += other.listed

    @property
    def total(self) -> int:
        return self.written + self.skipped + len(self.unreadable)


def build(
    job: BuildJob,
    items: Iterable,
    executor: Executor,
    chunk: int = 64,
    in_flight: int = 16,
    overwrite: bool = False,
    progress: Callable[[Counts], None] | None = None,
) -> Counts:
    """Make the entries of all items that are not finished.

    Every entry is written atomically and says what it was made from. So a build may be killed
    at any moment, and the same call goes on.

    Args:
        items (iterable): See :class:`MapSpec`; for most specs paths of images below the root.
        executor (Executor): Of ``concurrent.futures``, or Dask's ``client.get_executor()``.
        chunk (int): Items of a task.
        in_flight (int): Tasks that exist at a time.
        overwrite (bool): Replace a cache that was made with another spec.
        progress (callable, optional): Called with the counts after each task.

    Returns:
        Counts: of all items.

    Raises:
        CacheError: See :func:`prepare`.
    """
    before = read_provenance(job.out, type(job.spec))
    checked = prepare(job, overwrite)
    os.makedirs(job.temp_dir, exist_ok=True)
    _remove_old_files(job.temp_dir)
    counts = Counts()
    # Until all entries were compared with the moved images, the old root stays recorded.
    moved = checked.verify and not job.verify
    root = (before or {}).get('root') if moved else None
    _save_provenance(job, counts, root or job.root)
    lists = (UNREADABLE, *job.spec.lists.values())
    for name in lists:
        job.write(name, b'')
    for result in in_chunks(executor, process_chunk, checked, items, chunk, in_flight):
        counts.add(result)
        rows = [(UNREADABLE, f'{name}\t{reason}') for name, reason in result.unreadable]
        for name, row in rows + result.listed:  # at once, to be seen while the build goes on
            with open(os.path.join(job.out, name), 'a', encoding='utf-8') as file:
                file.write(f'{row}\n')
        if progress is not None:
            progress(counts)
    for name in lists:
        with open(os.path.join(job.out, name), encoding='utf-8') as file:
            job.write(name, ''.join(sorted(file)).encode())
        if not os.path.getsize(os.path.join(job.out, name)):
            os.unlink(os.path.join(job.out, name))
    _save_provenance(job, counts, job.root, complete=True)
    return counts


def prepare(job: BuildJob, overwrite: bool = False) -> BuildJob:
    """Check that a cache can be built there.

    Returns:
        BuildJob: The same; with ``verify`` if the images are not where they were when the cache
        was begun, because then the files' times say nothing.

    Raises:
        CacheError: The folder holds the images, or maps of another spec and ``overwrite`` is not
            given.
    """
    same = os.path.realpath(job.out) == os.path.realpath(job.root)
    if same and job.source and not job.spec.out_is_positional:
        raise CacheError(
            f'the {job.spec.what}s would be written among the images of {job.out}, and be images '
            'the next time; choose another folder for --out'
        )
    provenance = read_provenance(job.out, type(job.spec))
    if provenance is None:
        return job
    differ = spec_differences(provenance, job.spec.to_dict())
    if differ and not overwrite:
        words = [*job.source, *job.spec.words()]
        raise CacheError(
            f'the {job.spec.what}s in {job.out} were made with {", ".join(differ)}. Choose another '
            'folder, or rebuild them with\n  '
            f'{build_command(type(job.spec), job.out, words, "--overwrite")}'
        )
    here = os.path.realpath(job.root)
    known = [os.path.realpath(root) for root in roots(job.out, provenance)]
    return job if here in known else replace(job, verify=True)


def process_chunk(job: BuildJob, items: list) -> Counts:
    """Make the entries of some items; those that are finished are skipped."""
    cv2.setNumThreads(1)  # there are as many processes as cores
    counts = Counts()
    for item in items:
        name = str(job.spec.source(item))
        try:
            note, made = _process(job, item)
        except _Unreadable as error:
            counts.unreadable.append((name, ' '.join(str(error).split())))
            continue
        counts.written += made
        counts.skipped += not made
        status = job.spec.status(note)
        counts.status[status] += 1
        if status in job.spec.lists:
            counts.listed.append((job.spec.lists[status], name))
    return counts


class _Unreadable(Exception):
    """The image cannot be read; errors of the computation and of writing are not caught."""


def _process(job: BuildJob, item: Any) -> tuple[str, bool]:
    """Make one entry unless it is finished; its note, and whether it was made."""
    spec, target = job.spec, job.spec.target(item)
    entry = os.path.join(job.out, target)
    info = read_entry_info(entry)
    if info is not None and info.key != spec.key:
        info = None
    size, pixels = 0, _NO_PIXELS
    source = spec.source(item)
    if source is None:
        if info and (not job.verify or _intact(entry, info)):
            return info.note, False
    else:
        image = job.image(source)
        try:
            if info and not job.verify and _unchanged(job, image, entry, info):
                return info.note, False
            data = read_file(image, job.backend_args)
            size, pixels = len(data), spec.decode(data, image)
        except (UnreadableImageError, OSError) as error:
            raise _Unreadable(error) from error
        if (
            info
            and info.image_bytes == size
            and info.x0_crc == checksum(pixels)
            and (not job.verify or _intact(entry, info))
        ):
            os.utime(entry)  # the image is newer, but the same
            return info.note, False
    try:
        made = spec.make(item, pixels)
    except UnreadableImageError as error:
        raise _Unreadable(error) from error
    for relative, data in made.files.items():
        job.write(relative, data)
    suffix = os.path.splitext(target)[1]
    job.write(
        target, encode_entry(made.array, spec.key, size, pixels, made.note, suffix, spec.options)
    )
    return made.note, True


def _unchanged(job: BuildJob, image: str, entry: str, info: EntryInfo) -> bool:
    """Whether an entry is younger than its image, whose size is the recorded one."""
    if not is_local(image, job.backend_args):
        return True
    stat = os.stat(image)
    return info.image_bytes == stat.st_size and stat.st_mtime_ns <= os.stat(entry).st_mtime_ns


def _intact(entry: str, info: EntryInfo) -> bool:
    with open(entry, 'rb') as file:
        labels = decode_labels(file.read())
    return labels is not None and checksum(labels) == info.labels_crc


def pack_cache(job: BuildJob, progress: Callable[[int], object] | None = None) -> Packed:
    """Copy a finished cache into one LMDB database beside it, ``OUT.lmdb``.

    A run that was interrupted continues. The provenance is copied last, so an unfinished
    database is no cache.

    Args:
        progress (callable, optional): Called with the number of entries of each transaction.

    Raises:
        LmdbError: See :func:`~orl_mm.io.lmdb_files.pack`.
    """

    def read(key: str) -> bytes:
        with open(os.path.join(job.out, key), 'rb') as file:
            return file.read()

    def keys() -> Iterator[str]:
        for folder, folders, files in os.walk(job.out):
            folders[:] = sorted(set(folders) - {os.path.basename(job.temp_dir)})
            below = os.path.relpath(folder, job.out)
            yield from (os.path.normpath(os.path.join(below, name)) for name in sorted(files))

    provenance = f'{job.spec.name}.json'
    entries = (key for key in keys() if key != provenance)
    return pack(
        chain(entries, [provenance]),
        read,
        lambda key, stored: stored == read(key),
        job.out + LMDB_SUFFIX,
        progress,
    )


def in_chunks(
    executor: Executor,
    function: Callable[[Any, list], Any],
    job: Any,
    items: Iterable,
    chunk: int,
    in_flight: int,
) -> Iterator[Any]:
    """Yield ``function(job, chunk of items)`` in the order in which they finish.

    Only ``in_flight`` tasks exist at a time, so that neither the scheduler nor a task ever
    holds the whole list.

    Raises:
        Exception: What a task raised.
    """
    items, pending, exhausted = iter(items), set[Future](), False
    while pending or not exhausted:
        while not exhausted and len(pending) < in_flight:
            batch = list(islice(items, chunk))
            exhausted = not batch
            if batch:
                pending.add(executor.submit(function, job, batch))
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


def _remove_old_files(folder: str) -> None:
    """Delete what killed builds left; younger files may belong to one that is running."""
    for entry in os.scandir(folder):
        if time.time() - entry.stat().st_mtime > 3600:
            os.unlink(entry.path)


def _save_provenance(job: BuildJob, counts: Counts, root: str, complete: bool = False) -> None:
    provenance = dict(
        format=FORMAT,
        spec=job.spec.to_dict(),
        root=root if '://' in root else os.path.abspath(root),
        root_from_here=os.path.relpath(root, job.out),
        source=list(job.source),
        **job.spec.about,
        staleness='each entry records its image: the size of the file, the CRC-32 of its pixels',
        complete=complete,
        images=counts.total,
        unreadable=len(counts.unreadable),
        **{status: count for status, count in counts.status.items() if status},
    )
    job.write(f'{job.spec.name}.json', (json.dumps(provenance, indent=1) + '\n').encode())
