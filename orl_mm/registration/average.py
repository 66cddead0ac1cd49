"""The mean of many segmentations: the global average template (thesis 3.2)."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from orl_mm.io.atomic import write_atomic

from .template import Template


class PartsAverage:
    """A running mean of the maps of R parts, which can be saved and resumed.

    Each image's map is 1 where the part has a probability of ``threshold`` or more, else 0 (as in
    the thesis), so the mean is the share of the images in which a pixel belongs to the part;
    without a threshold the probabilities themselves are averaged.

    Args:
        parts (sequence): R names.
        size (int): Side of the maps.
        threshold (float, optional): In (0, 1]; None: average probabilities.

    Attributes:
        count (int): Images so far.
        skipped (list): Names of the unreadable images.
        position (int): Place in the list of images to continue from.

    Raises:
        ValueError: Arguments beyond these ranges.
    """

    def __init__(
        self, parts: Sequence[str], size: int = 256, threshold: float | None = 0.5
    ) -> None:
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(
                f'threshold must lie in (0, 1], got {threshold}: at 0 every pixel '
                'is part of everything'
            )
        if size < 1 or not parts or isinstance(parts, str):
            raise ValueError(f'an average needs parts and a size, got {parts!r} and {size}')
        self.parts, self.size, self.threshold = tuple(parts), size, threshold
        self.sums = np.zeros((len(self.parts), size, size), np.float64)
        self.count, self.position = 0, 0
        self.skipped: list[str] = []

    def add(self, maps: np.ndarray) -> None:
        """Add images to the average.

        Args:
            maps (np.ndarray): (B, R, size, size) probabilities in [0, 1].

        Raises:
            ValueError: Another shape, or values outside of [0, 1].
        """
        maps = np.asarray(maps)
        if maps.shape[1:] != self.sums.shape:
            raise ValueError(
                f'maps must be (B, {", ".join(map(str, self.sums.shape))}), got {maps.shape}'
            )
        if maps.size and not 0 <= maps.min() <= maps.max() <= 1:  # False for NaN
            raise ValueError(f'maps must lie in [0, 1], got {maps.min():g} to {maps.max():g}')
        if self.threshold is not None:
            maps = maps >= self.threshold
        self.sums += maps.sum(0, dtype=np.float64)
        self.count += len(maps)

    def template(self, provenance: dict) -> Template:
        """The mean.

        Raises:
            ValueError: No image was counted, or a part was found in none.
        """
        if not self.count:
            raise ValueError(f'no image to average; {len(self.skipped)} could not be read')
        nowhere = [
            part for part, total in zip(self.parts, self.sums, strict=False) if not total.any()
        ]
        if nowhere:
            raise ValueError(
                f'{nowhere} were found in none of {self.count} images: is it the '
                'right checkpoint, and are the images like those it was trained on?'
            )
        return Template(
            self.parts,
            self.sums / self.count,
            dict(
                kind='average',
                threshold='soft' if self.threshold is None else self.threshold,
                size=self.size,
                images=self.count,
                skipped=len(self.skipped),
                **provenance,
            ),
        )

    def save(self, path: str | Path, key: str) -> None:
        """Save the state in one atomic write, without pickle.

        Args:
            path: The file.
            key (str): Digest of the inputs, see :func:`job_key`.
        """
        about = dict(key=key, count=self.count, skipped=self.skipped, position=self.position)
        content = io.BytesIO()
        np.savez(content, sums=self.sums, about=np.array(json.dumps(about)))
        write_atomic(str(path), content.getvalue(), str(Path(path).absolute().parent))

    def resume(self, path: str | Path, key: str) -> bool:
        """Load what :meth:`save` wrote; False without a file.

        Raises:
            ValueError: The file is damaged or of another job.
        """
        if not os.path.isfile(path):
            return False
        try:
            with np.load(path, allow_pickle=False) as file:
                about, sums = json.loads(str(file['about'])), file['sums']
            same = about['key'] == key and sums.shape == self.sums.shape
            count, skipped, position = (about[k] for k in ('count', 'skipped', 'position'))
        except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f'{path} is damaged ({error}): delete it to start over') from error
        if not same:
            raise ValueError(
                f'{path} is from a run with another checkpoint, list of images or option: give the '
                'same ones to continue, delete it to start over, or choose another --out'
            )
        self.sums, self.count, self.skipped, self.position = sums, count, skipped, position
        return True


def job_key(description: dict) -> str:
    """SHA-256 of an average's inputs."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def list_digest(names: Iterable[str]) -> str:
    """SHA-256 of a list of names, one per line."""
    return hashlib.sha256(''.join(f'{name}\n' for name in names).encode()).hexdigest()


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
