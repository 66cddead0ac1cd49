"""Test a checkpoint as tools/test.py does, or take what an earlier test has left beside it."""

import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from orl_mm.engine import cli
from orl_mm.weights import checkpoints_must_fit

FORMAT = 1
# The parts of a config that a score depends on.
DECIDING = ('model', 'data_preprocessor', 'test_dataloader', 'test_evaluator', 'test_cfg')
# ... and in them, what it does not depend on.
IDLE = ('init_cfg', 'num_workers', 'persistent_workers', 'pin_memory', 'batch_size')


def evaluate(cfg: Config, checkpoint: Path, name: str, again: bool = False) -> dict[str, Any]:
    """Metrics of a checkpoint on the test data of a config.

    The result is stored as ``<checkpoint>.<name>.json`` beside the checkpoint, and taken
    from there next time, if the checkpoint's and the config's digests are the same.

    Args:
        cfg (Config): As for tools/test.py.
        checkpoint (Path): The file.
        name (str): Of the data set.
        again (bool): Do not take what is stored.

    Returns:
        dict: ``metrics``, without the evaluator's prefix; ``details``, part -> image -> AP,
        and ``patients``, image -> patient, where the metric has them; ``images``, how many.
    """
    found = None if again else stored_result(cfg, checkpoint, name)
    if found is not None:
        return found
    print(f'{checkpoint}, {name}: testing ...', flush=True)
    found = dict(key=_key(cfg, checkpoint), checkpoint=str(checkpoint), **_test(cfg, checkpoint))
    stored = stored_file(checkpoint, name)
    try:
        write_json(stored, found)
    except OSError as error:
        print(f'{stored} cannot be written, so the next table tests again: {error}')
    return found


def stored_result(cfg: Config, checkpoint: Path, name: str) -> dict[str, Any] | None:
    """What an earlier :func:`evaluate` of the same checkpoint and config has left, or None."""
    stored = stored_file(checkpoint, name)
    found = _read(stored)
    if found is None or found.get('key') != _key(cfg, checkpoint):
        return None
    print(f'{checkpoint}, {name}: from {stored}')
    return found


def stored_file(checkpoint: Path, name: str) -> Path:
    """Where the result of a checkpoint on a data set is stored."""
    return checkpoint.with_name(f'{checkpoint.stem}.{name}.json')


def _key(cfg: Config, checkpoint: Path) -> dict[str, Any]:
    return dict(format=FORMAT, checkpoint=file_digest(checkpoint), config=config_digest(cfg))


def build_test_runner(cfg: Config, checkpoint: Path) -> Runner:
    """A quiet runner that tests a checkpoint, which must fill the whole network.

    Args:
        cfg (Config): As for tools/test.py, with ``work_dir``; is changed.
        checkpoint (Path): The file.
    """
    cfg.load_from, cfg.resume, cfg.launcher = str(checkpoint), False, 'none'
    cfg.log_level = 'WARNING'
    for key in (
        'train_dataloader',
        'train_cfg',
        'optim_wrapper',
        'param_scheduler',
        'val_dataloader',
        'val_cfg',
        'val_evaluator',
        'auto_scale_lr',
    ):
        cfg.pop(key, None)
    cfg.vis_backends = cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.experiment_name = f'{cfg.work_dir}_{checkpoint.parent.name}'.replace(os.sep, '_')
    cli.set_dataloader_defaults(cfg, SimpleNamespace(no_pin_memory=False))
    return Runner.from_cfg(cfg)


def run_test(cfg: Config, runner: Runner) -> dict[str, float]:
    """The metrics of :func:`build_test_runner`'s runner; mistakes of data and weights in one line."""
    with (
        cli.config_errors(),
        checkpoints_must_fit(whole=True, min_match=cfg.get('min_match', 0.99)),
    ):
        return runner.test()


def _test(cfg: Config, checkpoint: Path) -> dict[str, Any]:
    with cli.config_errors():
        runner = build_test_runner(cfg, checkpoint)
    metrics = run_test(cfg, runner)
    metric = runner.test_evaluator.metrics[0]
    prefix = f'{metric.prefix}/'
    return dict(
        metrics={key.removeprefix(prefix): value for key, value in metrics.items()},
        details=getattr(metric, 'details', {}),
        patients=getattr(metric, 'patients', {}),
        images=len(runner.test_dataloader.dataset),
    )


def file_digest(path: Path) -> str:
    """BLAKE2 of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'blake2b').hexdigest()[:32]


def config_digest(cfg: Config) -> str:
    """Of everything in a config that its test score depends on."""
    parts = {key: without(IDLE, cfg.get(key)) for key in DECIDING}
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def without(idle: Collection[str], value: Any) -> Any:
    """A config's value without these keys, at any depth."""
    if isinstance(value, dict):
        return {key: without(idle, item) for key, item in value.items() if key not in idle}
    if isinstance(value, (list, tuple)):
        return [without(idle, item) for item in value]
    return value


def _read(path: Path) -> Any:
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
        return found if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all; numbers that are not finite as null."""
    part = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        part.write_text(json.dumps(_plain(content), indent=1, allow_nan=False), encoding='utf-8')
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, torch.Tensor) or hasattr(value, 'item'):
        value = value.item()
    return None if isinstance(value, float) and value != value else value
