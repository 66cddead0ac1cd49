"""What the command-line tools share: reading a config, and speaking to the user.

A mistake in the command or the config ends in one line that names it and the
fix, and exit code 2; anything else keeps its traceback.
"""

import argparse
import difflib
import inspect
import os
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.runner import Runner

from .build_errors import explain

# Top-level keys that a runner reads, beside the arguments of Runner itself.
EXTRA_KEYS = (
    'runner_type',
    'custom_imports',
    'model_wrapper_cfg',
    'find_unused_parameters',
    'sync_bn',
    'compile',
    'tta_model',
    'tta_pipeline',
)
# Between 'optim_wraper' or 'load_form', which are mistakes, and 'test_pipeline'
# beside 'tta_pipeline', which is not. Of all configs of mmpretrain, mmdet and
# mmseg one has a key so close to a runner's, and that one is a mistake, too
# ('models' in mmseg's BiSeNetV2 with OHEM).
KEY_LIKENESS = 0.885


class UserError(ValueError):
    """A mistake in what was typed; its text is all that the user is shown."""


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
    check_top_level_keys(cfg)
    return cfg


def runner_keys() -> list:
    """The top-level config keys that a runner reads."""
    arguments = inspect.signature(Runner.__init__).parameters
    return [key for key in arguments if key not in ('self', 'cfg')] + list(EXTRA_KEYS)


def check_top_level_keys(cfg: Config) -> None:
    """Refuse a key that is almost, but not, one that the runner reads.

    mmengine ignores unknown top-level keys, so a misspelt ``optim_wrapper``
    would train with the settings of ``_base_``. Keys unlike any known one stay
    legal: configs keep their own variables there.

    Raises:
        UserError: Naming the key that was meant.
    """
    known = runner_keys()
    for key in cfg:
        if key in known:
            continue
        near = difflib.get_close_matches(key, known, 1, KEY_LIKENESS) or [
            name for name in known if sorted(name) == sorted(key)
        ]
        if near:
            raise UserError(
                f'the config has the key {key!r}, which nothing reads; did you mean {near[0]!r}?'
            )


def merge_common_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Apply ``--cfg-options``, ``--launcher`` and ``--work-dir`` to ``cfg``.

    The work directory comes from the command, else from the config, else it is
    ``work_dirs/`` and the config's file name.
    """
    if args.cfg_options is not None:
        try:
            cfg.merge_from_dict(args.cfg_options)
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(
                f'--cfg-options {args.cfg_options} does not fit the config: {error}'
            ) from error
        check_top_level_keys(cfg)
    if args.launcher == 'pytorch' and 'RANK' not in os.environ:
        raise UserError(
            '--launcher pytorch is for processes that torchrun '
            'started; type tools/dist_train.sh CONFIG GPUS (or '
            'tools/dist_test.sh CONFIG CHECKPOINT GPUS)'
        )
    cfg.launcher = args.launcher
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(args.config).stem)


def check_parts(cfg: Config, purpose: str, *keys: str) -> None:
    """Refuse a config without the top-level keys that ``purpose`` needs."""
    missing = [key for key in ('model', *keys) if cfg.get(key) is None]
    if missing:
        raise UserError(
            f'{purpose} needs {", ".join(missing)} in the config; {cfg.filename} has none'
        )


def set_dataloader_defaults(cfg: Config, args: argparse.Namespace) -> None:
    """Give the data loaders what the stock tool of the config's scope gives.

    mmpretrain's configs leave ``collate_fn``, ``pin_memory`` and
    ``persistent_workers`` to its tool; mmdet's and mmseg's name their own.
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
            # `_base_ = 'package::...'` marks every dict; mmengine would hand
            # the mark to the function as an argument.
            loader.collate_fn.pop('_scope_', None)
        # Without a device there is nothing to pin for; torch would warn.
        if args.no_pin_memory or get_device() == 'cpu':
            loader.pin_memory = False
        # torch refuses persistent workers where there are no workers.
        if getattr(args, 'no_persistent_workers', False) or loader.get('num_workers', 0) == 0:
            loader.persistent_workers = False


@contextmanager
def config_errors():
    """Turn a mistake of the config, its data or a checkpoint into a UserError.

    :func:`~orl_mm.engine.build_errors.explain` says which errors are one; those
    from inside training pass through untouched.
    """
    try:
        yield
    except UserError:
        raise
    except (TypeError, KeyError, ValueError, OSError, AssertionError, ModuleNotFoundError) as error:
        message = explain(error)
        if message is None:
            raise
        raise UserError(message) from error
