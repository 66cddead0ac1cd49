"""Work directories: their last checkpoint, their config, and which row of a table they are."""

import re
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from orl_mm.engine.cli import UserError

from .thesis import REGIMENS

# Words of names of configs/medino/mixing, and what else the hook guides.
OTHERS = frozenset(('mocov3', 'simclr', 'simsiam', 'byol', 'mae'))


class Run(NamedTuple):
    """A network to put into a table.

    Attributes:
        row (str): Key of a regimen, or any name.
        checkpoint (Path): Its last one.
        config (Config, optional): Of its training, as dumped beside it.
    """

    row: str
    checkpoint: Path
    config: Config | None


def find_run(path: str, row: str | None = None) -> Run:
    """A work directory, or a checkpoint file.

    Args:
        path (str): See above.
        row (str, optional): Its row; default: by the names of the config, of the
            checkpoint that a probe started from, or of the folder.

    Raises:
        UserError: No checkpoint there, or no row that it obviously is.
    """
    where = Path(path).expanduser()
    checkpoint = where if where.is_file() else last_checkpoint(where)
    # A config is a program: beside a file that was named, only in what mmengine made.
    trusted = where.is_dir() or (checkpoint.parent / 'last_checkpoint').is_file()
    config_file = dumped_config(checkpoint.parent) if trusted else None
    config = None if config_file is None else Config.fromfile(str(config_file))
    if row is None:
        names = [] if config_file is None else [config_file.stem]
        start = _started_from(config)
        if start is not None:  # a probe of these features
            names += [*Path(start).parts[::-1][1:], Path(start).stem]
        names += [checkpoint.parent.name, checkpoint.stem]
        row = next(filter(None, map(regimen_of, names)), None)
    if row is None:
        raise UserError(
            f'{path}: which row is it? Its names say none of {", ".join(REGIMENS)}: '
            f'give --row NAME={path}, NAME one of these or a new one'
        )
    return Run(row, checkpoint, config)


def regimen_of(name: str) -> str | None:
    """The regimen that a name ends with, or that stands alone in it, by ``_``.

    ``dino_vits16``, as ``tools/convert_weights.py`` is asked to write it, is ImageNet's. The rows
    are DINO's: what another algorithm learned, guided or not, is none of them.
    """
    if re.fullmatch(r'dino_(deit)?(vit)?s(mall)?16(_pretrain)?', name):
        return 'dino-in1k'
    if OTHERS.intersection(name.split('_')):
        return None
    return next((word for word in reversed(name.split('_')) if word in REGIMENS), None)


def last_checkpoint(folder: Path) -> Path:
    """The checkpoint that mmengine wrote last."""
    if not folder.is_dir():
        raise UserError(f'there is no work directory or checkpoint {str(folder)!r}')
    note = folder / 'last_checkpoint'
    if note.is_file():
        named = folder / Path(note.read_text().strip()).name  # folders may have moved
        if named.is_file():
            return named
    found = sorted(folder.glob('*.pth'), key=_number)
    if not found:
        raise UserError(f'{folder} holds no checkpoint (*.pth); train first')
    return found[-1]


def dumped_config(folder: Path) -> Path | None:
    """The config that mmengine dumped into a work directory, the newest of several."""
    found: list[Path] = sorted(folder.glob('*.py'), key=lambda file: file.stat().st_mtime)
    return found[-1] if found else None


def _number(path: Path) -> tuple:
    digits = re.findall(r'\d+', path.stem)
    return (int(digits[-1]) if digits else -1, path.name)


def _started_from(config: Config | None) -> str | None:
    """The checkpoint behind a probe's features."""
    if config is None or config.get('model', {}).get('type') != 'orl_mm.LinearProbe':
        return None
    start = (config.model.backbone.get('init_cfg') or {}).get('checkpoint')
    return config.get('load_from') or start
