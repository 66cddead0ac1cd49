"""Jobs by name: what every plan of small tables shares."""

import sys
from pathlib import Path
from typing import Dict, List, Optional

from .jobs import Job

ROOT = Path(__file__).resolve().parents[2]


class BasePlan:
    """Collects jobs, each once, in the order of preference.

    Args:
        out (Path): Folder of everything that the jobs leave.
        environment (dict): Variables that say where the data are.
        epochs (int, optional): Of each pretraining, for a try.

    Attributes:
        jobs (dict): Name -> :class:`.jobs.Job`.
    """

    def __init__(self, out: Path, environment: Dict[str, str],
                 epochs: Optional[int] = None) -> None:
        self.out, self.environment, self.epochs = out, environment, epochs
        self.jobs: Dict[str, Job] = {}

    def add(self, name: str, command: List[str], done: Path, after=(), cost: float = 1.,
            touch: bool = False) -> str:
        """A job, unless there is one of this name already; returns the name."""
        self.jobs.setdefault(name, Job(name, command, done, list(after), cost, self.environment,
                                       touch=touch))
        return name

    def train(self, config: str, folder: Path, options: List[str]) -> List[str]:
        """The command of a training that goes on where it stopped."""
        return self.python('tools/train.py', config, '--work-dir', str(folder), '--resume',
                           '--cfg-options', *options)

    @staticmethod
    def python(tool: str, *args: str) -> List[str]:
        """The command of one of the repository's tools."""
        return [sys.executable, str(ROOT / tool), *args]


def seed_options(seed: int) -> List[str]:
    """A seed for the weights, and for the draws of the images."""
    return [f'randomness.seed={seed}', f'train_dataloader.dataset.pipeline.0.seed={seed}']
