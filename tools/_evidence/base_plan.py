"""Jobs by name: what every plan of small tables shares."""

import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from _tables.evaluate import without
from mmengine.config import Config

from .jobs import Job

ROOT = Path(__file__).resolve().parents[2]
SPLITS = ROOT / 'orl_mm' / 'datasets' / 'splits'
# What changes speed and messages alone.
IDLE = ('num_workers', 'persistent_workers', 'pin_memory', 'logger', 'visualizer', 'vis_backends')


class BasePlan:
    """Collects jobs, each once, in the order of preference.

    Args:
        out (Path): Folder of everything that the jobs leave.
        environment (dict): Variables that say where the data are.
        epochs (int, optional): Of each pretraining, for a try.

    Attributes:
        tag (str): In the names of a try's jobs, so that it is not taken for the real thing.
        jobs (dict): Name -> :class:`.jobs.Job`.
    """

    def __init__(self, out: Path, environment: dict[str, str], epochs: int | None = None) -> None:
        self.out, self.environment, self.epochs = out, environment, epochs
        self.tag = f'_{epochs}epochs' if epochs else ''
        self.jobs: dict[str, Job] = {}

    def add(
        self,
        name: str,
        command: list[str],
        done: Path,
        after=(),
        cost: float = 1.0,
        touch: bool = False,
        folder: Path | None = None,
        configs: Sequence[str] = (),
        again: bool = False,
    ) -> str:
        """A job, unless there is one of this name already; returns the name.

        ``configs`` decide the result though the command does not name them.
        """
        if name not in self.jobs:
            self.jobs[name] = Job(
                name,
                command,
                done,
                list(after),
                cost,
                self.environment,
                touch,
                self._settings(command, configs),
                folder,
                again,
            )
        return name

    def _settings(self, command: list[str], configs: Sequence[str]) -> str:
        """The command and the configs behind it, wherever repository, data and out lie."""
        places = {
            sys.executable: 'python',
            str(self.out): 'OUT',
            str(ROOT): 'ROOT',
            **{value: key for key, value in self.environment.items()},
        }
        text = '\n'.join(command)
        for place in sorted(places, key=len, reverse=True):
            text = text.replace(place, places[place])
        return '\n'.join(
            [
                text,
                *(
                    _contents(ROOT / word)
                    for word in [*command, *configs]
                    if word.startswith('configs/')
                ),
            ]
        )

    def train(self, config: str, folder: Path, options: list[str]) -> list[str]:
        """The command of a training that goes on where it stopped."""
        return self.python(
            'tools/train.py',
            config,
            '--work-dir',
            str(folder),
            '--resume',
            '--cfg-options',
            *options,
        )

    @staticmethod
    def python(tool: str, *args: str) -> list[str]:
        """The command of one of the repository's tools."""
        return [sys.executable, str(ROOT / tool), *args]


@lru_cache
def read_config(config: str) -> Config:
    """A config of the repository, read once; not to be changed."""
    return Config.fromfile(str(ROOT / config))


@lru_cache
def _contents(config: Path) -> str:
    """All that decides a result in a config, what it is based on, and the lists it names."""
    # Where the data lie is the job's environment, not whatever the shell has exported.
    places = {key: os.environ.pop(key) for key in list(os.environ) if key.startswith('ORL_')}
    try:
        cfg = Config.fromfile(str(config)).to_dict()
    finally:
        os.environ.update(places)
    text = json.dumps(without(IDLE, cfg), sort_keys=True, default=str)
    lists = sorted(file for file in SPLITS.glob('*.txt') if f'"{file.stem}"' in text)
    return '\n'.join([text, *(file.read_text(encoding='utf-8') for file in lists)])


def seed_options(seed: int) -> list[str]:
    """A seed for the weights, and for the draws of the images."""
    return [f'randomness.seed={seed}', f'train_dataloader.dataset.pipeline.0.seed={seed}']


def here() -> dict[str, str]:
    """Date and kind of machine, for a result to say."""
    try:  # what bfloat16's speed rests on
        amx = ', AMX' * ('amx_bf16' in Path('/proc/cpuinfo').read_text(encoding='utf-8'))
    except OSError:
        amx = ''
    return dict(
        date=time.strftime('%Y-%m-%d'),
        machine=f'{os.cpu_count()} cores, {platform.machine()}{amx}, torch '
        f'{torch.__version__.split("+")[0]}',
    )
