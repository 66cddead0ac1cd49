"""Write a folder of X-rays and masks in parallel, stopped and resumed anywhere.

The layout is ``folders`` of :class:`orl_mm.ChestXRayParts`: ``images/a.jpg``,
``masks/<part>/a.png``. A JSON file in the folder says what made it.
"""

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import cv2
import numpy as np

from orl_mm.io.atomic import write_atomic
from orl_mm.map_cache.chunks import clean_temp_dir, in_chunks

UNREADABLE, INVERTED = 'unreadable.txt', 'inverted.txt'


@dataclass(frozen=True)
class FolderJob:
    """All that a task needs besides its items.

    Args:
        out (str): The folder, the same on every worker.
        name (str): Of the JSON file, without suffix.
        settings (dict): What the files depend on, as JSON values.
        quality (int): Of JPEG files.
    """

    out: str
    name: str
    settings: dict
    quality: int = 95

    @property
    def temp_dir(self) -> str:
        return os.path.join(self.out, '.tmp')

    @property
    def provenance(self) -> str:
        return os.path.join(self.out, f'{self.name}.json')

    def write(self, relative: str, data: bytes) -> None:
        """Write a file of the folder, whole or not at all."""
        write_atomic(os.path.join(self.out, relative), data, self.temp_dir)

    def write_text(self, relative: str, lines: Iterable[str]) -> None:
        """Write a text file of the folder."""
        self.write(relative, ''.join(f'{line}\n' for line in lines).encode())

    def finished(self, relative: str, source: str | None = None) -> bool:
        """Whether an image was made by this job's settings, from its source as it is now."""
        try:
            made = os.stat(os.path.join(self.out, relative)).st_mtime_ns
        except FileNotFoundError:
            return False
        newest = [self.provenance, *([source] if source else [])]
        return made >= max(os.stat(path).st_mtime_ns for path in newest)

    def write_sample(
        self, relative: str, grey: np.ndarray, masks: dict[str, np.ndarray], stem: str
    ) -> None:
        """Write masks (H, W) bool as 1-bit PNG, and then the image, which counts as finished."""
        for part, mask in masks.items():
            done, data = cv2.imencode(
                '.png', mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1]
            )
            self.write(os.path.join('masks', part, f'{stem}.png'), data.tobytes())
        suffix = os.path.splitext(relative)[1]
        options = [] if suffix == '.png' else [cv2.IMWRITE_JPEG_QUALITY, self.quality]
        done, data = cv2.imencode(suffix, grey, options)
        self.write(relative, data.tobytes())


@dataclass
class Counts:
    """What became of the images so far."""

    written: int = 0
    skipped: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    inverted: list[str] = field(default_factory=list)

    def add(self, other: 'Counts') -> None:
        self.written += other.written
        self.skipped += other.skipped
        self.unreadable += other.unreadable
        self.inverted += other.inverted

    @property
    def total(self) -> int:
        return self.written + self.skipped + len(self.unreadable)


def prepare_folder(job: FolderJob, overwrite: bool = False) -> None:
    """Make the folder ready, or refuse one that was made otherwise.

    Files older than the JSON file do not count as finished: so it is left as it
    is where the settings are the same, and written anew where they are not.

    Raises:
        ValueError: Other settings are there, and ``overwrite`` is not given.
    """
    wanted = json.loads(json.dumps(job.settings))
    have = None
    if os.path.isfile(job.provenance):
        try:
            with open(job.provenance, encoding='utf-8') as file:
                have = json.load(file)
        except ValueError:
            have = {}
    clean_temp_dir(job.temp_dir)
    if have == wanted:
        return
    if have is not None and not overwrite:
        words = [
            f'{key} {have.get(key)!r} instead of {wanted.get(key)!r}'
            for key in sorted({*have, *wanted})
            if have.get(key) != wanted.get(key)
        ]
        raise ValueError(
            f'{job.out} was made with {", ".join(words)}. Choose another folder, or '
            'make it again with --overwrite'
        )
    job.write(f'{job.name}.json', (json.dumps(wanted, indent=1) + '\n').encode())


def fill_folder(
    job: FolderJob,
    function: Callable[[FolderJob, list], Counts],
    items: Iterable,
    executor: Executor,
    in_flight: int,
    chunk: int,
    progress: Callable[[Counts], None] | None = None,
) -> Counts:
    """Run a function over items, chunk by chunk, and list what could not be read.

    Args:
        function (callable): Job and some items to their counts.
        executor (Executor): Of ``concurrent.futures``, or Dask's ``client.get_executor()``.

    Returns:
        Counts: of all items.
    """
    counts = Counts()
    inverted = os.path.join(job.out, INVERTED)
    if not job.finished(INVERTED) and os.path.isfile(inverted):
        os.unlink(inverted)  # of other settings
    for result in in_chunks(executor, function, job, items, chunk, in_flight):
        counts.add(result)
        if result.inverted:  # at once: an image that is finished is not looked at again
            with open(inverted, 'a', encoding='utf-8') as file:
                file.writelines(f'{name}\n' for name in result.inverted)
        if progress is not None:
            progress(counts)
    job.write_text(UNREADABLE, [f'{name}\t{reason}' for name, reason in sorted(counts.unreadable)])
    if not counts.unreadable:
        os.unlink(os.path.join(job.out, UNREADABLE))
    return counts
