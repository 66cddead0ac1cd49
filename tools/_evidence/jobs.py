"""Commands that leave a file, each after those it needs, a few at a time."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from orl_mm.engine.cli import UserError


@dataclass
class Job:
    """One command.

    Attributes:
        name (str): Unique; that of its log, too.
        command (list[str]): What is run, in the repository's root.
        done (Path): The file that it leaves. Where it is there, and the job has ended well
            before (``logs/NAME.done`` says so: a file may be half written), nothing is run.
        after (list[str]): Names of jobs whose files it needs.
        cost (float): Roughly how long it takes beside the others, for the estimate.
        environment (dict): Variables beside those that are set.
        touch (bool): Make ``done`` when the command has ended well: it leaves many files.
        settings (str): What decides the result. ``logs/NAME.settings`` keeps its digest, joined
            with those of the jobs before: where it is another one than now, what was left is old.
        folder (Path, optional): Holds all that the command leaves, and from which it goes on.
        again (bool): Run even if done.
    """

    name: str
    command: list[str]
    done: Path
    after: Sequence[str] = ()
    cost: float = 1.0
    environment: dict[str, str] = field(default_factory=dict)
    touch: bool = False
    settings: str = ''
    folder: Path | None = None
    again: bool = False


@contextmanager
def alone(logs: Path) -> Iterator[int]:
    """Hold a folder of jobs.

    Yields:
        int: Descriptor of the lock. Commands inherit it, so that it outlives this process as long
        as they do, and goes with the last of them however that ends.

    Raises:
        UserError: Another process holds it.
    """
    logs.mkdir(parents=True, exist_ok=True)
    with open(logs / 'lock', 'w', encoding='utf-8') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f'another command, or a job that one has left, is at work in '
                f'{logs.parent}; wait for it or end it, or give another '
                '--out'
            ) from None
        yield file.fileno()


def run_jobs(
    jobs: Sequence[Job],
    logs: Path,
    at_once: int = 2,
    root: Path | None = None,
    redo: bool = False,
    lock: int | None = None,
) -> None:
    """Run what is not done yet, ``at_once`` commands side by side, one thread each.

    The first command that fails lets the running ones end and starts no other.

    Args:
        jobs (sequence): In the order of preference.
        logs (Path): Folder; ``NAME.log`` has all that a command says.
        at_once (int): Commands side by side.
        root (Path, optional): Where commands run.
        redo (bool): Delete what was made with other settings, and make it anew.
        lock (int, optional): Of :func:`alone`.

    Raises:
        UserError: A command failed, or left no file; with the end of its log. A name twice, or
            an ``after`` that is no job. Something was made with other settings, or by a command
            that kept none, and not ``redo``.
    """
    names = [job.name for job in jobs]
    unknown = {name for job in jobs for name in job.after} - set(names)
    if len(set(names)) < len(names) or unknown:
        raise UserError(f'jobs must have different names and know each other: {names}, {unknown}')
    logs.mkdir(parents=True, exist_ok=True)
    digests = digests_of(jobs)
    _drop_old(jobs, digests, logs, redo)
    ready = {
        job.name
        for job in jobs
        if not job.again and job.done.exists() and _marker(logs, job).exists()
    }
    todo = [job for job in jobs if job.name not in ready]
    running: dict[Future, Job] = {}
    failed: str | None = None
    bar = tqdm(
        total=sum(job.cost for job in jobs),
        initial=sum(job.cost for job in jobs if job.name in ready),
        unit='',
        desc='evidence',
        bar_format='{desc}: {percentage:3.0f}%|{bar:20}| {elapsed} gone, {remaining} to go '
        '{postfix}',
    )
    with ThreadPoolExecutor(at_once) as pool:
        while running or (todo and failed is None):
            for job in [] if failed else [j for j in todo if ready.issuperset(j.after)]:
                if len(running) == at_once:
                    break
                todo.remove(job)
                _marker(logs, job).unlink(missing_ok=True)
                if job.again:
                    job.done.unlink(missing_ok=True)
                _settings(logs, job).write_text(digests[job.name], encoding='utf-8')
                running[pool.submit(_run, job, logs / f'{job.name}.log', root, lock)] = job
            bar.set_postfix_str(', '.join(job.name for job in running.values()))
            if not running:
                failed = failed or 'jobs wait for each other: ' + ', '.join(j.name for j in todo)
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                problem = future.result()
                failed = failed or problem
                if problem is None:
                    _marker(logs, job).touch()
                    ready.add(job.name)
                    bar.update(job.cost)
    bar.close()
    if failed:
        raise UserError(failed)


def _marker(logs: Path, job: Job) -> Path:
    return logs / f'{job.name}.done'


def _settings(logs: Path, job: Job) -> Path:
    return logs / f'{job.name}.settings'


def digests_of(jobs: Sequence[Job]) -> dict[str, str]:
    """Of each job's settings and those of all before it; what waits in a circle has none."""
    by_name, digests = {job.name: job for job in jobs}, {}

    def digest(name: str, below: frozenset) -> str:
        if name not in digests and name not in below:
            job = by_name[name]
            text = [job.settings, *(digest(before, below | {name}) for before in job.after)]
            digests[name] = hashlib.sha256('\n'.join(text).encode()).hexdigest()
        return digests.get(name, '')

    for job in jobs:
        digest(job.name, frozenset())
    return digests


def _drop_old(jobs: Sequence[Job], digests: dict[str, str], logs: Path, redo: bool) -> None:
    """Find what was begun with other settings: delete it, or say so."""
    old = []
    for job in jobs:
        begun = job.done.exists() or (job.folder is not None and job.folder.exists())
        kept = _settings(logs, job)
        if (
            begun
            and not job.again
            and (not kept.exists() or kept.read_text(encoding='utf-8') != digests[job.name])
        ):
            old.append(job)
    if old and not redo:
        raise UserError(
            'made with other settings than now: '
            f'{", ".join(job.name for job in old)}. --redo deletes these and makes '
            'them anew; another --out keeps them'
        )
    for job in old:
        if job.folder is not None and job.folder.exists():
            shutil.rmtree(job.folder)
        for file in (job.done, _marker(logs, job), _settings(logs, job)):
            file.unlink(missing_ok=True)


def _run(job: Job, log: Path, root: Path | None, lock: int | None) -> str | None:
    """Run one command. Returns what went wrong."""
    environment = dict(os.environ, OMP_NUM_THREADS='1', **job.environment)
    job.done.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'a', encoding='utf-8') as out:
        out.write(f'$ {" ".join(job.command)}   # {time.strftime("%Y-%m-%d %H:%M:%S")}\n')
        out.flush()
        status = subprocess.run(
            job.command,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=root,
            env=environment,
            check=False,
            pass_fds=() if lock is None else (lock,),
        ).returncode
    if status == 0 and job.touch:
        job.done.touch()
    if status == 0 and job.done.exists():
        return None
    tail = ' | '.join(log.read_text(encoding='utf-8', errors='replace').splitlines()[-3:])
    what = f'ended with status {status}' if status else f'left no {job.done}'
    return f'{job.name} {what}: {tail} (whole log: {log})'
