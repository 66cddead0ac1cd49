"""What the small tables' workflows share: variables, commands as doit tasks, pages.

doit runs projects/{r2o,medino}/small/dodo.py: a task is a plain dict, it is up to date by the
content of its files and the digest of its configs, and two run side by side with ``-n 2``. doit is
pure Python and needs one small package, where Snakemake brings dozens.
"""

import fcntl
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import doit
import torch
from doit.exceptions import TaskFailed
from doit.globals import Globals
from doit.reporter import ConsoleReporter
from doit.tools import config_changed
from matplotlib.figure import Figure
from mmengine.config import Config

import orl_mm  # noqa: F401
from orl_mm.evaluation.results import file_digest, plain, without, write_json
from orl_mm.tables.markdown import markdown_table
from orl_mm.visualization import save_figure
from orl_mm.visualization.forest import forest_plot

ROOT = Path(__file__).resolve().parents[1]
SPLITS = ROOT / 'orl_mm' / 'datasets' / 'splits'
# Keys of a config that change speed and messages only.
IDLE = ('num_workers', 'persistent_workers', 'pin_memory', 'logger', 'visualizer', 'vis_backends')


class Reporter(ConsoleReporter):
    """Saves doit's state after each task, so that a killed run goes on where it was."""

    desc = 'console output; saves the state after each task'

    def add_success(self, task: Any) -> None:
        Globals.dep_manager.backend.dump()


def variable(name: str, default: Any) -> Any:
    """``name=value`` of the command line, as the default's type; lists by commas."""
    value = doit.get_var(name) or default
    if isinstance(value, str) and isinstance(default, (list, tuple)):
        return value.split(',')
    return type(default)(value)


def folder_variable(name: str, default: str) -> Path:
    """The same for a folder, relative to where doit was started."""
    return Path(doit.get_initial_workdir() or '.', variable(name, default)).resolve()


def doit_config(out: Path) -> dict[str, Any]:
    """``DOIT_CONFIG``; the state lies in the folder of the results."""
    return dict(
        default_tasks=['pages'],
        dep_file=str(out / 'doit.json'),
        backend='json',
        reporter=Reporter,
        par_type='thread',
        verbosity=2,
    )


class Workflow:
    """Makes doit tasks of commands.

    Args:
        out (Path): Folder of all results.
        places (dict): Environment variable -> where the data are.
    """

    def __init__(self, out: Path, places: dict[str, Path]) -> None:
        self.out, self.places = out, places
        if doit.get_initial_workdir():  # doit runs: its state lies there
            out.mkdir(parents=True, exist_ok=True)

    def task(
        self,
        name: str,
        commands: Sequence[Sequence[Any] | Callable[[], None]],
        folder: Path,
        target: Path,
        needs: Sequence[str | Path] = (),
        configs: Sequence[str] = (),
    ) -> dict[str, Any]:
        """A doit task.

        Args:
            name (str): Name of the sub-task.
            commands (sequence): Arguments of Python, or functions; run one after the other, in
                the repository's root, with one thread.
            folder (Path): Everything that the commands leave, for them to resume from. Deleted
                first if it was begun with other settings or from other files.
            target (Path): What is there at the end. Below ``folder``, or beside it: then an
                empty file that says that the folder is complete.
            needs (sequence): Files that other tasks make.
            configs (sequence): Configs that decide the result, beside those in the commands.
        """
        typed = [' '.join(map(str, words)) for words in commands if not callable(words)]
        named = [word for words in typed for word in words.split() if word.startswith('configs/')]
        places = {self.out: 'OUT', ROOT: 'ROOT', **{v: k for k, v in self.places.items()}}
        text = '\n'.join(typed)
        for place in sorted(places, key=lambda place: len(str(place)), reverse=True):
            text = text.replace(str(place), places[place])
        text = '\n'.join([text, *map(config_text, [*named, *configs])])
        settings = hashlib.sha256(text.encode()).hexdigest()
        return dict(
            name=name,
            actions=[(self._run, [commands, folder, target, settings, list(needs)])],
            file_dep=list(map(str, needs)),
            targets=[str(target)],
            uptodate=[config_changed(settings)],
        )

    def _run(
        self,
        commands: Sequence[Any],
        folder: Path,
        target: Path,
        settings: str,
        needs: Sequence[Any],
    ) -> TaskFailed | None:
        digest = '\n'.join([settings, *map(file_digest, needs)])
        begun, log = folder / '.settings', self.out / 'logs' / f'{folder.name}.log'
        if folder.exists() and (not begun.exists() or begun.read_text() != digest):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        begun.write_text(digest)
        target.unlink(missing_ok=True)
        log.parent.mkdir(exist_ok=True)
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
        environment.update({key: str(place) for key, place in self.places.items()})
        with open(folder / '.lock', 'w') as lock, open(log, 'a') as out:
            try:  # commands inherit the lock, so that it lasts as long as they run
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return TaskFailed(f'another run is at work in {folder}: wait for it or end it')
            for words in commands:
                if callable(words):
                    words()
                    continue
                command = [sys.executable, *map(str, words)]
                print(f'$ {shlex.join(command)}', file=out, flush=True)
                done = subprocess.run(
                    command,
                    cwd=ROOT,
                    env=environment,
                    stdout=out,
                    stderr=out,
                    pass_fds=[lock.fileno()],
                    check=False,
                )
                if done.returncode:
                    tail = ' | '.join(log.read_text(errors='replace').splitlines()[-3:])
                    return TaskFailed(f'status {done.returncode}: {tail} (whole log: {log})')
        if folder not in target.parents:
            target.touch()
        return None if target.exists() else TaskFailed(f'no {target} (log: {log})')

    def training(
        self, config: str, folder: Path, seed: int, options: Sequence[str] = (), epochs: int = 0
    ) -> tuple[list[str], Path]:
        """The command of a training, and its last checkpoint.

        Args:
            config (str): Below the repository's root.
            folder (Path): Its work directory, from which it resumes.
            seed (int): Of the weights, and of the draws of the images.
            options (sequence): Of ``--cfg-options``.
            epochs (int): Instead of the config's, for a try.
        """
        options = [
            f'randomness.seed={seed}',
            f'train_dataloader.dataset.pipeline.0.seed={seed}',
            *options,
        ]
        cfg = read_config(config)
        if epochs:
            options += [f'train_cfg.max_epochs={epochs}', 'default_hooks.checkpoint.interval=1']
            for number, schedule in enumerate(cfg.param_scheduler):
                if schedule.get('warmup'):  # an epoch or two, too many for a try
                    options.append(f'param_scheduler.{number}.warmup={min(1, epochs - 1)}')
        command = ['tools/train.py', config, '--work-dir', str(folder), '--resume', '--cfg-options']
        return [*command, *options], folder / f'epoch_{epochs or cfg.train_cfg.max_epochs}.pth'


@cache
def read_config(config: str) -> Config:
    """A config of the repository; not to be changed."""
    return Config.fromfile(str(ROOT / config))


@cache
def config_text(config: str) -> str:
    """All that decides a result in a config and its bases, and the image lists that it names."""
    # Where the data lie is not a setting, whatever the shell has exported.
    places = {key: os.environ.pop(key) for key in list(os.environ) if key.startswith('ORL_')}
    try:
        cfg = Config.fromfile(str(ROOT / config)).to_dict()
    finally:
        os.environ.update(places)
    text = json.dumps(plain(without(IDLE, cfg)), sort_keys=True)
    lists = sorted(file for file in SPLITS.glob('*.txt') if f'"{file.stem}"' in text)
    return '\n'.join([text, *(file.read_text(encoding='utf-8') for file in lists)])


def provenance(project: str, task: str, num_seeds: int, **options: Any) -> dict[str, Any]:
    """Command, seeds, date and machine of a table; ``options`` without a value are left out."""
    words = [f'doit -f projects/{project}/small/dodo.py', task, 'data=DIR']
    for key, value in options.items():
        if value:
            words.append(f'{key}={value if isinstance(value, int) else ",".join(value)}')
    try:  # what the speed of bfloat16 depends on
        amx = ', AMX' if 'amx_bf16' in Path('/proc/cpuinfo').read_text() else ''
    except OSError:
        amx = ''
    version = torch.__version__.split('+')[0]
    return dict(
        command=' '.join(words),
        seeds=list(range(num_seeds)),
        date=time.strftime('%Y-%m-%d'),
        machine=f'{os.cpu_count()} cores, {platform.machine()}{amx}, torch {version}',
    )


class Page(NamedTuple):
    """A table of a page: how its numbers become Markdown and a figure.

    Attributes:
        stem (str): Of its files: ``stem.json``, ``stem.md``, ``stem.png``.
        cells (callable): Table -> rows of :func:`markdown_table`.
        note (callable): Table -> the text below.
        figure (callable): Table -> matplotlib figure.
    """

    stem: str
    cells: Callable[[dict], list]
    note: Callable[[dict], str]
    figure: Callable[[dict], Any]

    def markdown(self, table: dict[str, Any]) -> str:
        """The table, the note, and where the numbers are from."""
        origin = f'{table["date"]}, {table["machine"]}. Command: {table["command"]}'
        return f'{markdown_table(self.cells(table))}\n\n{self.note(table)} {origin}\n'

    def write(self, table: dict[str, Any], folder: Path) -> None:
        """Markdown, JSON and the figure of new numbers."""
        write_json(folder / f'{self.stem}.json', table)
        self.rebuild(folder)
        print((folder / f'{self.stem}.md').read_text(encoding='utf-8'))

    def rebuild(self, folder: Path) -> None:
        """Markdown and the figure of stored numbers."""
        table = json.loads((folder / f'{self.stem}.json').read_text(encoding='utf-8'))
        (folder / f'{self.stem}.md').write_text(self.markdown(table), encoding='utf-8')
        save_figure(self.figure(table), folder / f'{self.stem}.png')

    def task(
        self, make: Callable[[], dict[str, Any]], needs: Sequence[Path], out: Path, **more: Any
    ) -> dict[str, Any]:
        """The doit task that writes what ``make`` returns, from the files ``needs``."""
        return dict(
            actions=[lambda: self.write(make(), out)],
            file_dep=list(map(str, needs)),
            targets=[str(out / f'{self.stem}.json')],
            uptodate=[False],
            **more,
        )


def pages_task(pages: Iterable[Page], folder: Path) -> dict[str, Any]:
    """Markdown and figures of the stored numbers of a project."""
    return dict(actions=[(page.rebuild, [folder]) for page in pages], uptodate=[False])


def row_plot(rows: Sequence[dict[str, Any]], guided: Sequence[bool | None], panels: list) -> Figure:
    """A forest plot with a second color for ``guided`` rows, and grey for None (no network)."""
    colors = ['0.6' if mark is None else 'C1' if mark else 'C0' for mark in guided]
    return forest_plot([row['name'] for row in rows], panels, '', colors)
