"""Build a superpixel cache on any executor, stopped and resumed anywhere."""

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import cv2
import numpy as np

from orl_mm.io.atomic import write_atomic
from orl_mm.io.image import UnreadableImageError, decode_image
from orl_mm.map_cache.chunks import clean_temp_dir, in_chunks
from orl_mm.map_cache.entry import CacheError, encode_entry
from orl_mm.map_cache.resume import unfinished
from orl_mm.structures.view_geometry import ViewGeometry
from orl_mm.superpixels.cache import FORMAT, PROVENANCE, build_command, differences, read_provenance
from orl_mm.superpixels.spec import PriorSpec

UNREADABLE = 'unreadable.txt'
_TEMP = '.tmp'


@dataclass(frozen=True)
class BuildJob:
    """All that a task needs besides its images' relative paths.

    Args:
        spec (PriorSpec): The prior.
        root (str): Folder of the images, the same on every worker.
        out (str): Folder of the cache, the same on every worker.
        background, apply_exif: As in ``LoadImage``, whose pixels count.
        verify (bool): Decode every image and mask again and compare, instead
            of trusting sizes and times.
        source (tuple): The command's arguments that name the images.
    """

    spec: PriorSpec
    root: str
    out: str
    background: int | None = 255
    apply_exif: bool = False
    verify: bool = False
    source: tuple[str, ...] = ()

    @property
    def temp_dir(self) -> str:
        return os.path.join(self.out, _TEMP)

    def decode(self, data: bytes) -> np.ndarray:
        """x0 (S, S, 3) uint8, BGR, of an image file's bytes."""
        img = decode_image(data, self.background, self.apply_exif)
        return ViewGeometry.whole(*img.shape[:2]).apply_image(img, self.spec.size)


@dataclass
class Counts:
    """What became of the images so far."""

    written: int = 0
    skipped: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def add(self, other: 'Counts') -> None:
        self.written += other.written
        self.skipped += other.skipped
        self.unreadable += other.unreadable

    @property
    def total(self) -> int:
        return self.written + self.skipped + len(self.unreadable)


def process_chunk(job: BuildJob, relative_paths: list[str]) -> Counts:
    """Make the masks of some images; what is finished already is skipped."""
    cv2.setNumThreads(1)  # as many processes as cores: one thread each
    counts = Counts()
    for relative in relative_paths:
        try:
            if _process(job, relative):
                counts.written += 1
            else:
                counts.skipped += 1
        except (UnreadableImageError, FileNotFoundError) as error:
            counts.unreadable.append((relative, str(error)))
    return counts


def _process(job: BuildJob, relative: str) -> bool:
    """Make one mask; False where a finished one is there."""
    entry = os.path.join(job.out, relative + '.png')
    todo = unfinished(os.path.join(job.root, relative), entry, job.spec.key, job.decode, job.verify)
    if todo is None:
        return False
    png = encode_entry(job.spec(todo.pixels), job.spec.key, *todo)
    write_atomic(entry, png, job.temp_dir)
    return True


def prepare(job: BuildJob, overwrite: bool = False) -> None:
    """Make the folder ready, or refuse one that holds something else.

    Raises:
        CacheError: Masks of another prior, library version or root are there
            and ``overwrite`` is not given.
    """
    provenance = read_provenance(job.out)
    words = []
    if provenance is not None:
        words = differences(provenance, job.spec)
        if os.path.abspath(provenance['root']) != os.path.abspath(job.root):
            words.append(f'root {provenance["root"]} instead of {job.root}')
    if words and not overwrite:
        command = build_command(job.spec, job.out, list(job.source), '--overwrite')
        raise CacheError(
            f'{job.out} holds a cache made with '
            f'{", ".join(words)}. Choose another --out, or '
            f'rebuild it with\n  {command}'
        )
    clean_temp_dir(job.temp_dir)


def build(
    job: BuildJob,
    relative_paths: Iterable[str],
    executor: Executor,
    chunk: int = 64,
    in_flight: int = 16,
    overwrite: bool = False,
    progress: Callable[[Counts], None] | None = None,
) -> Counts:
    """Build the cache on an executor.

    Only ``in_flight`` tasks exist at a time, each of ``chunk`` images, so
    neither the scheduler nor a task ever holds the whole list. Every mask is
    written beside its place and renamed: a run may be killed at any moment,
    and the same call goes on.

    Args:
        executor (Executor): Of ``concurrent.futures``, or Dask's
            ``client.get_executor()``.
        progress (callable, optional): Called with the counts after a chunk.

    Returns:
        Counts: of all images.

    Raises:
        CacheError: See :func:`prepare`.
    """
    prepare(job, overwrite)
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


def _save_provenance(job: BuildJob, counts: Counts, complete: bool) -> None:
    provenance = dict(
        format=FORMAT,
        spec=job.spec.to_dict(),
        root=os.path.abspath(job.root),
        source=list(job.source),
        resize='Pillow bicubic, the whole image squashed',
        background=job.background,
        apply_exif=job.apply_exif,
        staleness="each PNG records its image's size and the CRC-32 of x0",
        complete=complete,
        images=counts.total,
        unreadable=len(counts.unreadable),
    )
    text = json.dumps(provenance, indent=1) + '\n'
    write_atomic(os.path.join(job.out, PROVENANCE), text.encode(), job.temp_dir)
