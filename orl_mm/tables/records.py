"""Work directories and their scores, from ``result.json`` or by tools/test.py; panels of a plot."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from orl_mm.evaluation.results import config_digest, file_digest, plain, read_result
from orl_mm.visualization.forest import Panel

PACKAGE = Path(__file__).resolve().parents[1]
# A checkout, or the copy of configs and tools in an installed package.
ROOT = PACKAGE.parent if (PACKAGE.parent / 'configs').is_dir() else PACKAGE / '.mim'
CONFIGS = ROOT / 'configs'
TEST_CONFIG = 'test_config.py'  # of a test that a table asked for


class Tests(NamedTuple):
    """Which scores come from tests that a table runs itself.

    Attributes:
        options (dict): Further keys of the configs.
        test (bool): Test what has no result of its checkpoint and config.
        again (bool): Test everything.
    """

    options: dict[str, Any] = {}
    test: bool = False
    again: bool = False


class Run(NamedTuple):
    """A network whose scores a table asks for.

    Attributes:
        folder (Path): The work directory with its ``result.json``.
        checkpoint (Path): The last one of the training, or the file that was given.
        config (dict, optional): Of the training; None where nothing tells it.
        name (str): Of the config file of the training; empty where nothing tells it.
        training (dict): Section ``train`` of its result; empty without one.
    """

    folder: Path
    checkpoint: Path
    config: dict[str, Any] | None
    name: str
    training: dict[str, Any]


def find_run(path: str) -> Run:
    """A work directory of a training or of a test, or a checkpoint file.

    Raises:
        ValueError: There is no checkpoint.
    """
    where = Path(path).expanduser()
    folder = where.parent if where.is_file() else where
    result = read_result(folder)
    if where.is_file():
        checkpoint = where
    elif 'test' in result and 'train' not in result and not list(where.glob('*.pth')):
        checkpoint = Path(result['test']['checkpoint']['file'])
    else:
        checkpoint = last_checkpoint(where)
    training = read_result(checkpoint.parent).get('train', {})
    config, name = training.get('config'), Path(training.get('config_file') or '').stem
    # A dumped config is a program: run it only in a folder that mmengine wrote.
    if not config and (where.is_dir() or (checkpoint.parent / 'last_checkpoint').is_file()):
        dumped = dumped_config(checkpoint.parent)
        if dumped is not None:
            cfg = Config.fromfile(str(dumped), import_custom_modules=False)
            config, name = plain(cfg.to_dict()), dumped.stem
    return Run(folder, checkpoint, config, name, training)


def checkpoints_of(path: str | Path) -> list[tuple[int, Path]]:
    """Number and path of a checkpoint, or of each one in a work directory, in order.

    Raises:
        ValueError: There are none.
    """
    where = Path(path).expanduser()
    files = [where] if where.is_file() else list(where.glob('*.pth'))
    if not files and where.is_dir():
        raise ValueError(f'{path} holds no checkpoint (*.pth); train first')
    if not files:
        raise ValueError(f'there is no work directory or checkpoint {str(path)!r}')
    return sorted((int((re.findall(r'\d+', file.stem) or [-1])[-1]), file) for file in files)


def last_checkpoint(folder: Path) -> Path:
    """The checkpoint that mmengine wrote last; raises as :func:`checkpoints_of`."""
    note = folder / 'last_checkpoint'
    if note.is_file():
        named = folder / Path(note.read_text().strip()).name  # the folder may have been moved
        if named.is_file():
            return named
    return checkpoints_of(folder)[-1][1]


def dumped_config(folder: Path) -> Path | None:
    """The newest config that mmengine wrote into a work directory: assignments only."""

    def is_config(file: Path) -> bool:
        try:
            body = ast.parse(file.read_text(encoding='utf-8')).body
        except (SyntaxError, ValueError, OSError):
            return False
        names = {ast.unparse(node.targets[0]) for node in body if isinstance(node, ast.Assign)}
        return len(names) == len(body) and 'model' in names and file.name != TEST_CONFIG

    files = filter(is_config, folder.glob('*.py'))
    return max(files, key=lambda file: file.stat().st_mtime, default=None)


def recorded_scores(run: Run) -> tuple[str, dict[str, Any]] | None:
    """``test`` or ``val`` and that section of a run's result, if it is of its checkpoint."""
    result = read_result(run.folder)
    for kind in ('test', 'val'):
        of = result.get(kind, {}).get('checkpoint')
        if (
            of
            and run.checkpoint.is_file()
            and Path(of['file']).name == run.checkpoint.name
            and of['digest'] == file_digest(run.checkpoint)
        ):
            return kind, result[kind]
    return None


def scores_of(run: Run, tests: Tests) -> tuple[str, dict[str, Any] | None]:
    """``test`` or ``val`` and that section of a run's result, from a new test if need be."""
    found = None if tests.again else recorded_scores(run)
    if not (tests.test or tests.again) or found and not tests.options:
        return found or ('test', None)
    file = run.checkpoint.parent / f'{run.name}.py'  # as mmengine wrote it; JSON has no tuples
    if not file.is_file():
        raise ValueError(f'{run.folder} cannot be tested: there is no config {file}')
    cfg = Config.fromfile(str(file))
    cfg.merge_from_dict(tests.options)
    return 'test', scores_of_test(cfg, run.checkpoint, run.folder, tests)


def scores_of_test(
    cfg: Config, checkpoint: Path, folder: Path, tests: Tests
) -> dict[str, Any] | None:
    """Section ``test`` of a checkpoint's result under a config.

    Args:
        cfg (Config): Of the test, with all options.
        checkpoint (Path): The file.
        folder (Path): Work directory of the test.
        tests (Tests): Whether to run tools/test.py.

    Returns:
        dict: None where there is no result and it was not to be tested.

    Raises:
        ValueError: The test failed; with the last line of what it printed.
    """
    found = None if tests.again else read_result(folder).get('test')
    if (
        found
        and found['config_digest'] == config_digest(cfg)
        and (found['checkpoint'] or {}).get('digest') == file_digest(checkpoint)
    ):
        return found
    if not (tests.test or tests.again):
        return None
    print(f'{checkpoint}: testing, {folder} ...', flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / TEST_CONFIG
    cfg.dump(str(config))
    command = [sys.executable, ROOT / 'tools' / 'test.py', config, checkpoint]
    done = subprocess.run(
        [*map(str, command), '--work-dir', str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        (folder / 'test.log').write_text(done.stdout, encoding='utf-8')
        last = done.stdout.strip().splitlines()[-1:]
        raise ValueError(f'the test of {checkpoint} failed: {"".join(last)} ({folder}/test.log)')
    return read_result(folder)['test']


def metric_values(section: dict[str, Any] | None) -> dict[str, float]:
    """The metrics of a section without the evaluator's prefix."""
    metrics = section['metrics'] if section else {}
    return {key.split('/')[-1]: value for key, value in metrics.items()}


def table_panels(table: dict[str, Any]) -> list[Panel]:
    """For a forest plot: a panel for each column of a table.

    Args:
        table (dict): ``columns``, column -> title; ``rows`` with ``thesis``, column -> number, and
            ``scores``, column -> dict of ``mean``, ``low`` and ``high``, all in percent, and
            optionally ``marks``.
    """
    panels = []
    for column, title in table['columns'].items():
        found = [row['scores'].get(column) for row in table['rows']]
        marked = [bool(row.get('marks')) for row in table['rows']]
        scores = [s and dict(s, marked=mark) for s, mark in zip(found, marked, strict=True)]
        thesis = [row['thesis'].get(column) for row in table['rows']]
        has_thesis = any(number is not None for number in thesis)
        panels.append(Panel(title, scores, thesis=thesis if has_thesis else None))
    return panels
