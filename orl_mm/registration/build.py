"""Register many images on any executor, stopped and resumed anywhere."""

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np

from orl_mm.datasets.transforms import LoadImage, LoadXray
from orl_mm.io.atomic import write_atomic
from orl_mm.io.image import UnreadableImageError
from orl_mm.map_cache.chunks import clean_temp_dir, in_chunks
from orl_mm.map_cache.entry import CacheError, encode_entry, read_entry_info
from orl_mm.map_cache.resume import unfinished
from orl_mm.registration.cache import (
    FORMAT,
    PROVENANCE,
    build_command,
    pack_parts,
    read_provenance,
    spec_key,
)
from orl_mm.registration.contrast import to_grey
from orl_mm.registration.outcome import STATUSES
from orl_mm.registration.reference import Reference
from orl_mm.registration.register_image import register_image

UNREADABLE = 'unreadable.txt'
LOADERS = dict(LoadXray=LoadXray, LoadImage=LoadImage)


@dataclass(frozen=True)
class RegistrationJob:
    """All that a task needs besides its images' relative paths.

    Args:
        reference (Reference): Exemplar, settings, checks and fallback.
        spec (dict): What the templates depend on, as JSON values: the provenance.
        root (str): Folder of the images, the same on every worker.
        out (str): Folder of the cache, the same on every worker.
        loader (str): JSON of the transform that decodes the images, ``type`` included.
        verify (bool): Decode every image and template again and compare, instead of trusting
            sizes and times.
        source (tuple): The command's arguments, without those that only say how.
    """

    reference: Reference
    spec: dict
    root: str
    out: str
    loader: str = '{"type": "LoadXray"}'
    verify: bool = False
    source: tuple[str, ...] = ()

    @property
    def temp_dir(self) -> str:
        return os.path.join(self.out, '.tmp')

    @property
    def key(self) -> str:
        return spec_key(self.spec)


@dataclass
class Counts:
    """What became of the images so far; ``skipped`` ones were there."""

    done: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0))
    skipped: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def add(self, other: 'Counts') -> None:
        for status, count in other.done.items():
            self.done[status] += count
        self.skipped += other.skipped
        self.unreadable += other.unreadable

    @property
    def total(self) -> int:
        return sum(self.done.values()) + len(self.unreadable)


@lru_cache(maxsize=4)
def decoder(loader: str) -> Callable[[bytes, str], np.ndarray]:
    """Bytes and path of a file to its grey levels (H, W) uint8.

    Args:
        loader (str): See :class:`RegistrationJob`.
    """
    options = json.loads(loader)
    transform = LOADERS[options.pop('type').split('.')[-1]](**options)
    return lambda data, path: to_grey(transform.decode(data, path))


def process_chunk(job: RegistrationJob, relative_paths: list[str]) -> Counts:
    """Register some images; what is finished already is skipped."""
    cv2.setNumThreads(1)  # as many processes as cores: one thread each
    counts = Counts()
    for relative in relative_paths:
        try:
            status, made = _process(job, relative)
            counts.done[status] += 1
            counts.skipped += not made
        except (UnreadableImageError, FileNotFoundError) as error:
            counts.unreadable.append((relative, str(error)))
    return counts


def _process(job: RegistrationJob, relative: str) -> tuple[str, bool]:
    """Make one template; its status, and False where a finished one is there."""
    image, entry = os.path.join(job.root, relative), os.path.join(job.out, relative + '.png')
    todo = unfinished(
        image, entry, job.key, lambda data: decoder(job.loader)(data, image), job.verify
    )
    if todo is None:
        return json.loads(read_entry_info(entry).note)['status'], False
    outcome = register_image(todo.pixels, job.reference)
    write_atomic(
        entry, encode_entry(pack_parts(outcome.masks), job.key, *todo, outcome.note()), job.temp_dir
    )
    return outcome.status, True


def differences(have: dict, want: dict, prefix: str = '') -> list[str]:
    """What tells a cache's provenance from the wanted one, in words."""
    words = []
    for name in sorted({*have, *want}):
        a, b = have.get(name), want.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            words += differences(a, b, f'{prefix}{name}.')
        elif a != b:
            words.append(f'{prefix}{name} {a!r} instead of {b!r}')
    return words


def prepare_folder(job: RegistrationJob, overwrite: bool = False) -> None:
    """Make the folder ready, or refuse one that holds something else.

    Raises:
        CacheError: Templates made otherwise are there and ``overwrite`` is not given.
    """
    provenance = read_provenance(job.out)
    words = []
    if provenance is not None:
        words = differences(provenance['spec'], json.loads(json.dumps(job.spec)))
        if os.path.abspath(provenance['root']) != os.path.abspath(job.root):
            words.append(f'root {provenance["root"]} instead of {job.root}')
    if words and not overwrite:
        raise CacheError(
            f'{job.out} holds templates made with {", ".join(words)}. Choose another '
            '--out, or make them again with\n  '
            f'{build_command(job.source, job.out, "--overwrite")}'
        )
    clean_temp_dir(job.temp_dir)


def build(
    job: RegistrationJob,
    relative_paths: Iterable[str],
    executor: Executor,
    chunk: int = 8,
    in_flight: int = 16,
    overwrite: bool = False,
    progress: Callable[[Counts], None] | None = None,
) -> Counts:
    """Register all images on an executor.

    Every template is written beside its place and renamed: a run may be killed at any
    moment, and the same call goes on.

    Args:
        executor (Executor): Of ``concurrent.futures``, or Dask's ``client.get_executor()``.
        progress (callable, optional): Called with the counts after a chunk.

    Returns:
        Counts: of all images.

    Raises:
        CacheError: See :func:`prepare_folder`.
    """
    prepare_folder(job, overwrite)
    counts = Counts()
    _save_provenance(job, counts, complete=False)
    listing = os.path.join(job.out, UNREADABLE)
    with open(listing, 'w', encoding='utf-8') as bad:
        for result in in_chunks(executor, process_chunk, job, relative_paths, chunk, in_flight):
            counts.add(result)
            for relative, reason in result.unreadable:
                bad.write(f'{relative}\t{reason}\n')
            bad.flush()
            if progress is not None:
                progress(counts)
    if not counts.unreadable:
        os.unlink(listing)
    _save_provenance(job, counts, complete=True)
    return counts


def _save_provenance(job: RegistrationJob, counts: Counts, complete: bool) -> None:
    provenance = dict(
        format=FORMAT,
        spec=job.spec,
        root=os.path.abspath(job.root),
        source=list(job.source),
        bits='bit r of a pixel is part r; the square covers the whole image',
        staleness="each PNG records its image's size and the CRC-32 of its grey levels",
        complete=complete,
        images=counts.total,
        unreadable=len(counts.unreadable),
        **counts.done,
    )
    write_atomic(
        os.path.join(job.out, PROVENANCE),
        (json.dumps(provenance, indent=1) + '\n').encode(),
        job.temp_dir,
    )
