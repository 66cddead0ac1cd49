"""What the commands share: reading and checking a config, and errors of setting up a run."""

import argparse
import difflib
import inspect
import json
import logging
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mmengine.registry
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import Registry
from mmengine.runner import Runner

from orl_mm.errors import UserError, file_error

from .resume import fit_optimizer

# Top-level keys that a runner reads, beside the arguments of Runner itself.
EXTRA_KEYS = [
    *('runner_type', 'custom_imports', 'model_wrapper_cfg', 'find_unused_parameters'),
    *('sync_bn', 'compile', 'channels_last', 'tta_model', 'tta_pipeline'),
]
# Separates 'optim_wraper', a mistake, from 'test_pipeline', only similar to 'tta_pipeline'.
KEY_LIKENESS = 0.885


def load_config(path: str) -> Config:
    """Read a config file.

    Raises:
        UserError: The file or one of its ``_base_`` is missing, it is not valid Python, or a
            top-level key is a misspelt one.
    """
    try:
        cfg = Config.fromfile(path)
    except (FileNotFoundError, ModuleNotFoundError, SyntaxError) as error:
        raise UserError(f'config {path!r} cannot be read: {error}') from error
    _drop_own_scope(cfg._cfg_dict)
    check_top_level_keys(cfg)
    return cfg


def _drop_own_scope(node: object) -> None:
    """Remove the marks that ``_base_ = 'orl_mm::...'`` leaves in every dict.

    With ``_scope_='orl_mm'`` mmengine would look for mmpretrain's parts in this package only;
    the configs of this project name its own parts ``orl_mm.X`` and need no mark.
    """
    if isinstance(node, dict):
        if node.get('_scope_') == 'orl_mm':
            del node['_scope_']
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            _drop_own_scope(value)


def check_top_level_keys(cfg: Config) -> None:
    """Raise UserError for a key that is almost, but not, one that the runner reads.

    mmengine ignores unknown top-level keys, so that with a misspelled ``optim_wrapper`` a run would
    train with the settings of ``_base_``. Other unknown keys are allowed: configs keep their own
    variables there.
    """
    known = [*inspect.signature(Runner.__init__).parameters, *EXTRA_KEYS]
    for key in set(cfg).difference(known):
        swapped = [name for name in known if sorted(name) == sorted(key)]
        near = difflib.get_close_matches(key, known, 1, KEY_LIKENESS) or swapped
        if near:
            raise UserError(
                f'the config has the key {key!r}, which nothing reads; did you mean {near[0]!r}?'
            )


def merge_options(cfg: Config, options: dict | None) -> None:
    """Apply ``--cfg-options``.

    An element of a list is named by its index or by its type, without the scope:
    ``custom_hooks.AttentionRegHook.lambda1=0``.

    Raises:
        UserError: A key that does not fit the config.
    """
    try:
        cfg.merge_from_dict({_with_indices(cfg, k): v for k, v in (options or {}).items()})
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise UserError(f'--cfg-options {options} does not fit the config: {error}') from error


def _with_indices(node: Any, key: str) -> str:
    parts = key.split('.')
    for i, part in enumerate(parts):
        if isinstance(node, (list, tuple)):
            if not part.isdigit():
                types = [str(dict(item).get('type')).split('.')[-1] for item in node]
                if types.count(part) != 1:
                    raise ValueError(f'{part} is not one of {types}')
                parts[i] = str(types.index(part))
            node = node[int(parts[i])]
        else:
            node = node.get(part) if isinstance(node, (Config, dict)) else None
    return '.'.join(parts)


def merge_common_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Apply ``--cfg-options``, ``--launcher`` and ``--work-dir`` to ``cfg``.

    The work directory comes from the command, else from the config, else it is
    ``work_dirs/`` and the config's file name.
    """
    merge_options(cfg, args.cfg_options)
    check_top_level_keys(cfg)
    if args.launcher == 'pytorch' and 'RANK' not in os.environ:
        raise UserError(
            '--launcher pytorch is for processes that torchrun started; type tools/dist_train.sh '
            'CONFIG GPUS (or tools/dist_test.sh CONFIG CHECKPOINT GPUS)'
        )
    cfg.launcher = args.launcher
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(args.config).stem)


def check_parts(cfg: Config, purpose: str, *keys: str) -> None:
    """Raise UserError for a config without the top-level keys that ``purpose`` needs."""
    missing = [key for key in ('model', *keys) if cfg.get(key) is None]
    if missing:
        raise UserError(
            f'{purpose} needs {", ".join(missing)} in the config; {cfg.filename} has none'
        )


def set_dataloader_defaults(cfg: Config, args: argparse.Namespace) -> None:
    """Set what the stock tool of the config's scope sets in the data loaders.

    mmpretrain's configs leave ``collate_fn``, ``pin_memory`` and ``persistent_workers`` to its
    tool, mmdet's and mmseg's do not.
    """
    ours = cfg.get('default_scope') in ('mmpretrain', 'orl_mm')
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(field)
        if loader is None:
            continue
        if ours:
            loader.setdefault('pin_memory', True)
            loader.setdefault('persistent_workers', True)
            loader.setdefault('collate_fn', ConfigDict(type='default_collate'))
        if isinstance(loader.get('collate_fn'), dict):
            # From `_base_ = 'package::...'`; mmengine would pass it to the function.
            loader.collate_fn.pop('_scope_', None)
        if args.no_pin_memory or get_device() == 'cpu':
            loader.pin_memory = False
        if getattr(args, 'no_persistent_workers', False) or loader.get('num_workers', 0) == 0:
            loader.persistent_workers = False


class SetupHook(Hook):
    """Records when the set-up of a run is over, and checks the checkpoint it resumes from."""

    priority = 'LOWEST'  # after the hooks that check the config before training

    def __init__(self) -> None:
        self.done = False

    def before_train(self, runner: Runner) -> None:
        """Training starts."""
        self.done = True

    def before_test(self, runner: Runner) -> None:
        """Testing starts."""
        self.done = True

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Raise UserError if ``resume`` got weights only."""
        missing = [key for key in ('meta', 'optimizer') if key not in checkpoint]
        if runner._resume and missing:
            raise UserError(
                f'the checkpoint {runner._load_from} has no {missing[0]!r}, so it holds weights '
                'and no training state to resume; to start from its weights, leave --resume out '
                f'and give --cfg-options load_from={runner._load_from}'
            )
        if runner._resume:
            fit_optimizer(runner, checkpoint)


@contextmanager
def config_errors() -> Iterator[SetupHook]:
    """Turn any error of setting up a run into a :class:`UserError` of one line.

    What fails while models, data and weights are built follows from the config or the files
    it names. The traceback goes to the log file of the run, if there is one. Register the
    hook that is yielded with the runner, so that errors of the run itself pass unchanged.
    """
    hook = SetupHook()
    try:
        yield hook
    except Exception as error:
        if hook.done:
            raise
        log = _log_traceback(error)
        if isinstance(error, UserError):
            raise
        if isinstance(error, ValueError) or file_error(error):
            raise UserError(file_error(error) or str(error)) from error
        where = log or 'ORL_TRACEBACK=1 prints it'
        raise UserError(f'{_describe(error)} (traceback: {where})') from error


def _log_traceback(error: Exception) -> str | None:
    """Write the traceback to the log file of the current run; returns its path."""
    for handler in MMLogger.get_current_instance().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.acquire()
            print(*traceback.format_exception(error), sep='', file=handler.stream, flush=True)
            handler.release()
            return handler.baseFilename
    return None


def _describe(error: Exception) -> str:
    """An error of a library in one line, with the part that was probably meant."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, ModuleNotFoundError) and error.name == 'mmcv._ext':
        return "this config needs mmcv's compiled ops, which are not installed; type: make ops"
    if 'EADDRINUSE' in text:
        return 'the port of the first process is in use on its machine; set MASTER_PORT to another'
    parts = _registered()
    unknown = re.match(r'(\S+) is not in the (.+?) registry\.', text)
    if unknown:
        near = difflib.get_close_matches(unknown[1], parts, 1, 0.7)
        hint = f'Did you mean {near[0]!r}?' if near else 'Its package may not be in custom_imports.'
        return f'{unknown[0]} {hint}'
    unexpected = re.search(r"(\w+)\.__init__\(\) got an unexpected .*argument '(\w+)'", text)
    if unexpected:
        named = [part for part in parts.values() if getattr(part, '__name__', '') == unexpected[1]]
        taken = [key for part in named for key in inspect.signature(part).parameters]
        near = difflib.get_close_matches(unexpected[2], taken, 1)
        return text + (f'; did you mean {near[0]!r}?' if near else '')
    return f'{type(error).__name__}: {text}'


def _registered() -> dict[str, type]:
    """All registered parts by name, those of other scopes as ``scope.Name``."""
    found: dict[str, type] = {}
    for root in vars(mmengine.registry).values():
        if isinstance(root, Registry):
            found |= root.module_dict
            for scope, child in root.children.items():
                found |= {f'{scope}.{name}': part for name, part in child.module_dict.items()}
    return found


def build_loops(runner: Runner, *splits: str) -> None:
    """Build the loops of a runner (``'train'``, ``'val'``, ``'test'``), and so the data sets.

    Stock data sets assert without a message that a folder exists, and a truncated or empty list
    fails in json or numpy without its path.

    Raises:
        UserError: In place of such an error, with the folders of the data loader's config.
    """
    for split in splits:
        try:
            getattr(runner, f'{split}_loop')
        except (OSError, AssertionError, ValueError) as error:
            what = str(error) or 'a file or folder is missing'
            if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
                what = 'the file is truncated or not JSON'
            elif 'need at least one array to concatenate' in str(error):
                what = 'no sample, or filter_cfg leaves none'
            elif isinstance(error, ValueError):
                raise
            data = (runner.cfg.get(f'{split}_dataloader') or {}).get('dataset') or {}
            while 'data_root' not in data and isinstance(data.get('dataset'), dict):
                data = data['dataset']
            named = {key: data.get(key) for key in ('data_root', 'data_prefix', 'ann_file')}
            if named['ann_file']:
                named['ann_file'] = os.path.join(named['data_root'] or '', named['ann_file'])
            folders = ', '.join(f'{key}={value!r}' for key, value in named.items() if value)
            raise UserError(
                f'{data.get("type")}, {folders}: {what}. Put the data there or give another '
                f'folder, e.g. --cfg-options {split}_dataloader.dataset.data_root=FOLDER; '
                'tools/check_data.py lists what is missing'
            ) from error
