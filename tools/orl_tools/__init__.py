"""What the commands share before the slow imports: arguments, checks of paths, one-line errors.

A tool begins with ``from orl_tools import ...``, defines ``parse_args`` and calls
``start(__name__, parse_args)`` before it imports torch and orl_mm, so that a mistake in the
command is answered at once. Importing this module also puts a checkout's ``orl_mm`` on
``sys.path``. :func:`main` is the ``orl`` command.
"""

import argparse
import ast
import difflib
import importlib.util
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # a checkout, or orl_mm/.mim of a wheel
if (ROOT / 'orl_mm').is_dir() and str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
for _package in ('torch', 'mmengine'):
    if importlib.util.find_spec(_package) is None:
        sys.exit(
            f'No module named {_package!r}; type `make env` once, then `source '
            f'.venv/bin/activate` (or .venv/bin/python {sys.argv[0]} ...)'
        )

from mmengine.config import DictAction  # noqa: E402  (light: it does not import torch)

from .argument_types import (  # noqa: E402
    config_path,
    did_you_mean,
    existing_file,
    existing_folder,
    existing_path,
    positive,
)
from .packages import prepare  # noqa: E402

__all__ = [
    'CONTINUES',
    'KeyValueAction',
    'Parser',
    'add_common_arguments',
    'add_drawing_arguments',
    'add_image_arguments',
    'add_worker_arguments',
    'add_cfg_options',
    'command_errors',
    'config_path',
    'existing_file',
    'existing_folder',
    'existing_path',
    'main',
    'positive',
    'prepare',
    'start',
]


class Parser(argparse.ArgumentParser):
    """An argument parser that suggests the right option for a mistyped one.

    Descriptions keep their line breaks, so a tool's docstring serves as its help.
    """

    def __init__(self, **kwargs) -> None:
        kwargs.setdefault('formatter_class', argparse.RawDescriptionHelpFormatter)
        super().__init__(**kwargs)

    def error(self, message: str):
        options = list(self._option_string_actions)
        for word in re.findall(r'--[\w-]+', message):
            near = difflib.get_close_matches(word, options, 1)
            if near and near[0] != word:
                message += f' (did you mean {near[0]}?)'
        self.exit(2, f'{self.prog}: {message}; --help lists every argument\n')


class KeyValueAction(DictAction):
    """mmengine's ``DictAction`` with a readable error for a word without ``=``.

    A value outside brackets that has a slash, or is a file, is one string: spaces and commas of a
    path stay. Lists of paths need brackets: ``key="[a b/c.txt,d.txt]"``.
    """

    @staticmethod
    def _parse_iterable(val):
        val = val.strip('\'"')
        if val[:1] not in ('(', '[') and (',' not in val or os.sep in val or os.path.exists(val)):
            return DictAction._parse_int_float_bool(val)
        val = re.sub(r'\s*([][(),])\s*', r'\1', val)  # mmengine deletes all other spaces, too
        return _with_spaces(DictAction._parse_iterable(val.replace(' ', '\0')))

    def __call__(self, parser, namespace, values, option_string=None):
        for value in values:
            if '=' not in value:
                parser.error(f'{option_string} takes KEY=VALUE pairs, got {value!r}')
        super().__call__(parser, namespace, values, option_string)


def _with_spaces(value):
    if isinstance(value, (list, tuple)):
        return type(value)(map(_with_spaces, value))
    return value.replace('\0', ' ') if isinstance(value, str) else value


def start(name: str, parse_args: Callable[[], object]) -> None:
    """Parse the command line of a tool, then prepare for its slow imports.

    Args:
        name (str): ``__name__`` of the tool; only ``'__main__'`` is parsed.
        parse_args (callable): Exits on a mistake; its result is not used here.
    """
    if name == '__main__':
        parse_args()
    prepare()


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that the stock training and test tools share."""
    add_cfg_options(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes (default: none)',
    )
    parser.add_argument(
        '--no-pin-memory', action='store_true', help='switch pin_memory of the data loaders off'
    )
    # torchrun's predecessor passes the first or the second form.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_cfg_options(parser: argparse.ArgumentParser, default: dict | None = None) -> None:
    """``--cfg-options KEY=VALUE ...``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValueAction,
        default=default,
        metavar='KEY=VALUE',
        help='override keys of the config, e.g. train_dataloader.batch_size=8 key="[a,b]"; paths '
        'may have spaces and commas; in lists, types name elements: custom_hooks.SetEpochHook.x=0',
    )


def add_drawing_arguments(parser: argparse.ArgumentParser, num: str, out: str, seed: str) -> None:
    """``--images``, ``--num``, ``--out``, ``--seed`` and ``--cfg-options`` of a tool that draws.

    Args:
        parser (ArgumentParser): Gets them, and what :mod:`orl_mm.engine.cli` expects.
        num, out, seed (str): The defaults of two, and what the seed is for.
    """
    parser.add_argument(
        '--images',
        nargs='+',
        type=existing_path,
        metavar='PATH',
        help="files or folders instead of the config's training data",
    )
    help_num = f'how many images, evenly spread over the data (default: {num})'
    parser.add_argument('--num', type=int, metavar='N', help=help_num)
    parser.add_argument('--out', metavar='DIR', help=f'folder of the picture (default: {out})')
    parser.add_argument('--seed', type=int, default=0, help=f'of the {seed}')
    add_cfg_options(parser)
    parser.set_defaults(launcher='none', local_rank=0, work_dir=None)


def add_image_arguments(
    parser: argparse.ArgumentParser, config_help: str = '', required: bool = True
) -> None:
    """``--folder``, ``--list`` or ``--config``; ``--cfg-options`` and ``--root``.

    :func:`orl_mm.engine.image_arguments.image_source` reads them.
    """
    images = parser.add_mutually_exclusive_group(required=required)
    images.add_argument('--folder', type=existing_folder, help='all images below this folder')
    images.add_argument('--list', help='a text file with one image per line, below --root')
    images.add_argument(
        '--config', type=config_path, help='the training data of this config' + config_help
    )
    add_cfg_options(parser, {})
    parser.add_argument(
        '--root',
        help="folder that relative paths begin at (default: the folder, or the data set's)",
    )


def add_worker_arguments(parser: argparse.ArgumentParser, chunk: int) -> None:
    """``--workers``, ``--scheduler``, ``--chunk`` and ``--overwrite`` of a map cache's tool."""
    parser.add_argument(
        '--workers',
        type=positive,
        default=os.cpu_count(),
        help='processes on this machine (default: one per core)',
    )
    parser.add_argument('--scheduler', help='address of a Dask scheduler, tcp://HOST:PORT')
    parser.add_argument(
        '--chunk', type=positive, default=chunk, help=f'images per task (default {chunk})'
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace what was made with other settings'
    )


CONTINUES = 'stopped; the same command continues'


@contextmanager
def command_errors(*kinds: type[Exception], stopped: str = 'stopped') -> Iterator[None]:
    """Print an error of the user's as one line and exit with status 2.

    With several processes the first of each node prints it, since only one node may miss a
    file. ``ORL_TRACEBACK=1`` keeps the traceback.

    Args:
        kinds: Exceptions that are the user's; ValueError, OSError and ModuleNotFoundError by
            default.
        stopped (str): Message when the user interrupts the command.
    """
    expected = kinds or (ValueError, OSError, ModuleNotFoundError)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(f'\n{stopped}')
    except Exception as error:
        text = _in_one_line(error, expected)
        if text is None or os.environ.get('ORL_TRACEBACK', '0') != '0':
            raise
        prog = os.path.basename(sys.argv[0])
        if os.environ.get('RANK', '0') == '0':
            print(f'{prog}: {text}', file=sys.stderr)
        elif os.environ.get('LOCAL_RANK') == '0':
            print(f'{prog} on {socket.gethostname()}: {text}', file=sys.stderr)
        sys.exit(2)


def _in_one_line(error: Exception, expected: tuple[type[Exception], ...]) -> str | None:
    """The message of an error that is the user's or the machine's; None for other errors."""
    from orl_mm.errors import file_error

    if isinstance(error, RuntimeError) and re.search('DataLoader worker .*(kill|exit)', str(error)):
        return (
            'a data worker was killed, often for want of memory; lower num_workers or batch_size. '
            'A training continues with --resume'
        )
    if not isinstance(error, expected):
        return file_error(error)
    # A data worker's error begins with the traceback in the worker.
    return file_error(error) or ' '.join(str(error).split(f'{type(error).__name__}: ')[-1].split())


def commands() -> dict[str, Path]:
    """The scripts of ``tools/`` by the name that ``orl`` knows them by."""
    folder = Path(__file__).resolve().parents[1]
    if not (folder / 'train.py').is_file():  # site-packages
        spec = importlib.util.find_spec('orl_mm')
        folder = Path(str(spec.origin)).parent / '.mim' / 'tools' if spec else folder
    scripts = [*folder.glob('[a-z]*.py'), *folder.glob('[a-z]*.sh')]
    return {path.stem.replace('_', '-'): path for path in sorted(scripts)}


def summary(path: Path) -> str:
    """The first line of a script's docstring, or of a shell script's comment."""
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.py':
        return (ast.get_docstring(ast.parse(text)) or '').split('\n', 1)[0]
    return text.split('\n', 2)[1].lstrip('# ').split(':')[0]


def main(argv: Sequence[str] | None = None) -> None:
    """``orl NAME ...`` runs ``tools/NAME.py ...``; without a name it lists the commands."""
    words = list(sys.argv[1:] if argv is None else argv)
    known = commands()
    if not words or words[0] in ('-h', '--help'):
        width = max(map(len, known))
        print('usage: orl COMMAND [arguments]; orl COMMAND --help\n')
        for name, path in known.items():
            print(f'  {name:<{width}}  {summary(path)}')
        return
    name = words[0].replace('_', '-')
    if name not in known:
        hint = did_you_mean(name, known, '`orl` lists the commands')
        sys.exit(f'orl: there is no command {words[0]!r}; {hint}')
    runner = sys.executable if known[name].suffix == '.py' else 'bash'
    os.environ.setdefault('PYTHON', sys.executable)  # for the shell scripts
    os.execvp(runner, [runner, str(known[name]), *words[1:]])
