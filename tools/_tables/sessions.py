"""What mmengine leaves in a work directory: one folder for each start, with config and numbers.

::

    work_dir/20261125_044912/20261125_044912.log
                             20261125_044912.json             what a test found
                             vis_data/20261125_044912.json    losses and validations, a line each
                             vis_data/config.py               the config it ran with
"""

import json
import math
import re
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

STAMP = re.compile(r'\d{8}_\d{6}')


class Moment(NamedTuple):
    """Where in a training a checkpoint was written: ``('epoch', 45)`` or ``('iter', 30000)``."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f'{dict(epoch="epoch", iter="iteration")[self.kind]} {self.number}'


def moment_of(checkpoint: Path) -> Moment | None:
    """From the name that mmengine gives it; None of any other name."""
    found = re.search(r'(epoch|iter)_(\d+)$', checkpoint.stem)
    return Moment(found[1], int(found[2])) if found else None


class Session:
    """One start of a training or a test.

    Args:
        folder (Path): Named after the time of the start, to the second.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.stamp = folder, folder.name

    @cached_property
    def config(self) -> Config | None:
        """The config it ran with; None where mmengine's local backend was off."""
        file = self.folder / 'vis_data' / 'config.py'
        return Config.fromfile(str(file), import_custom_modules=False) if file.is_file() else None

    @property
    def scalars_file(self) -> Path:
        return self.folder / 'vis_data' / f'{self.stamp}.json'

    @property
    def test_file(self) -> Path:
        return self.folder / f'{self.stamp}.json'

    @cached_property
    def scalars(self) -> list[dict[str, Any]]:
        """Losses and validations in their order; a last line cut by a crash is left out."""
        return [
            line for line in map(_parse, _text(self.scalars_file).splitlines()) if line is not None
        ]

    @cached_property
    def test(self) -> dict[str, Any] | None:
        """Metrics of a test."""
        return _parse(_text(self.test_file))

    @cached_property
    def world_size(self) -> int | None:
        """Number of its processes."""
        found = re.search(r'^\s*GPU number: (\d+)', self._log, re.MULTILINE)
        return int(found[1]) if found else None

    @cached_property
    def _log(self) -> str:
        return _text(self.folder / f'{self.stamp}.log')

    def reaches(self, moment: Moment) -> bool:
        """Whether it trained until then."""
        return any(
            line.get(moment.kind, -1) >= moment.number
            for line in self.scalars
            if 'loss' in line or 'lr' in line
        )

    def validation(self, moment: Moment, metric: str) -> dict[str, Any] | None:
        """Metrics of the validation at a moment.

        mmengine writes the epoch as their ``step``, also when it counts iterations, where that
        is 0. So its place between the losses tells; ``step`` does where no loss was logged.

        Args:
            moment (Moment): Of the checkpoint.
            metric (str): Key that only validations have.
        """
        found, before = None, None
        for index, line in enumerate(self.scalars):
            if metric not in line:
                before = line
                continue
            after = next((later for later in self.scalars[index + 1 :] if metric not in later), {})
            if moment.kind == 'epoch':
                here = (before or {}).get('epoch', line.get('step')) == moment.number
            else:
                start = (before or {}).get('iter', line.get('step', 0))
                here = start <= moment.number < after.get('iter', math.inf)
            found = line if here else found
        return found

    def images(self, kind: str, metric: str) -> tuple[int, int] | None:
        """How many images were tested: the fewest and the most that fit the log.

        The log counts batches of one process. With N images on P processes, each has
        ceil(ceil(N / P) / batch) of them.

        Args:
            kind (str): ``'val'`` or ``'test'``.
            metric (str): As the log names it.

        Returns:
            tuple: None where the log does not say.
        """
        lines = re.findall(
            rf'\({kind}\)\s+(?:\[\d+\])?\[(\d+)/(\d+)\].*\b{re.escape(metric)}: ', self._log
        )
        loader = (self.config or {}).get(f'{kind}_dataloader') or {}
        batch, world = loader.get('batch_size'), self.world_size
        if not lines or not batch or not world:
            return None
        batches = int(lines[-1][1])
        return ((batches - 1) * batch * world + 1, batches * batch * world)


def sessions(work_dir: Path) -> list[Session]:
    """All starts in a work directory, the oldest first."""
    return [
        Session(folder)
        for folder in sorted(work_dir.iterdir())
        if folder.is_dir() and STAMP.fullmatch(folder.name)
    ]


def _parse(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding='utf-8', errors='replace')
    except OSError:
        return ''
