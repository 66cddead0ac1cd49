"""Work directories and their scores: read from ``result.json``, or made by tools/test.py."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from orl_mm.evaluation.results import config_digest, file_digest, plain, read_result

PACKAGE = Path(__file__).resolve().parents[1]
# A checkout, or the copy of configs and tools in an installed package.
ROOT = PACKAGE.parent if (PACKAGE.parent / 'configs').is_dir() else PACKAGE / '.mim'
CONFIGS = ROOT / 'configs'


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


def last_checkpoint(folder: Path) -> Path:
    """The checkpoint that mmengine wrote last.

    Raises:
        ValueError: There is no such folder, or no checkpoint in it.
    """
    if not folder.is_dir():
        raise ValueError(f'there is no work directory or checkpoint {str(folder)!r}')
    note = folder / 'last_checkpoint'
    if note.is_file():
        named = folder / Path(note.read_text().strip()).name  # the folder may have been moved
        if named.is_file():
            return named
    found = [(int((re.findall(r'\d+', f.stem) or [-1])[-1]), f) for f in folder.glob('*.pth')]
    if not found:
        raise ValueError(f'{folder} holds no checkpoint (*.pth); train first')
    return max(found)[1]


def dumped_config(folder: Path) -> Path | None:
    """The newest config that mmengine wrote into a work directory."""
    return max(folder.glob('*.py'), key=lambda file: file.stat().st_mtime, default=None)


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


def scores_of_test(
    cfg: Config, checkpoint: Path, folder: Path, test: bool = False, again: bool = False
) -> dict[str, Any] | None:
    """Section ``test`` of a checkpoint's result under a config.

    Args:
        cfg (Config): Of the test.
        checkpoint (Path): The file.
        folder (Path): Work directory of the test.
        test (bool): Run tools/test.py where there is no result of this checkpoint and config.
        again (bool): Run it in any case.

    Returns:
        dict: None where there is no result and ``test`` is False.

    Raises:
        ValueError: The test failed; with the last line of what it printed.
    """
    found = None if again else read_result(folder).get('test')
    if (
        found
        and found['config_digest'] == config_digest(cfg)
        and (found['checkpoint'] or {}).get('digest') == file_digest(checkpoint)
    ):
        return found
    if not test and not again:
        return None
    print(f'{checkpoint}: testing, {folder} ...', flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / 'test_config.py'
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
