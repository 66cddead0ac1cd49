"""The result of a run as a small file: metrics, per-image values, digests, and the command.

``result.json`` in a work directory has up to three sections, written by ``ResultHook``:
``train`` (how the last checkpoint was made), ``val`` (the last validation during that training)
and ``test``. tools/tables.py and the workflows in projects/ read nothing else.
"""

import hashlib
import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mmengine.config import Config

from orl_mm.io.atomic import write_atomic

FILE = 'result.json'
# The parts of a config that the score of given weights depends on ...
TEST_KEYS = ('model', 'data_preprocessor', 'test_dataloader', 'test_evaluator', 'test_cfg')
# ... and keys, at any depth, that change only speed and messages.
IDLE_KEYS = (
    'batch_size',
    'collate_fn',
    'init_cfg',
    'num_workers',
    'persistent_workers',
    'pin_memory',
    '_scope_',
)


def read_result(folder: str | Path) -> dict[str, Any]:
    """The sections of a work directory's result; empty without a readable file."""
    try:
        found = json.loads((Path(folder) / FILE).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file in one step; tensors and arrays of one number become numbers."""
    text = json.dumps(plain(content), indent=1, allow_nan=False)
    write_atomic(path, f'{text}\n'.encode())


def plain(value: Any) -> Any:
    """A value for JSON: tuples become lists, NaN None, and other types text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, 'item'):  # a tensor or an array of one number
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


def without(keys: Collection[str], value: Any) -> Any:
    """A nested config without some keys, at any depth."""
    if isinstance(value, dict):
        return {key: without(keys, item) for key, item in value.items() if key not in keys}
    if isinstance(value, (list, tuple)):
        return [without(keys, item) for item in value]
    return value


def file_digest(path: str | Path) -> str:
    """BLAKE2 of a file, 32 hexadecimal digits."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'blake2b').hexdigest()[:32]


def config_digest(cfg: Config | dict, keys: Collection[str] = TEST_KEYS) -> str:
    """BLAKE2 of the parts of a config that decide a result.

    Args:
        cfg (Config or dict): A config, or the ``config`` of a result's section.
        keys (collection): Top-level keys; default: those that a test's score depends on.
    """
    parts = {key: plain(without(IDLE_KEYS, cfg.get(key))) for key in keys}
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def checkpoint_record(path: str | Path) -> dict[str, str] | None:
    """Path and digest of a checkpoint; None without such a file."""
    path = Path(path)
    return dict(file=str(path), digest=file_digest(path)) if path.is_file() else None


def flat_settings(config: Any, keep_root: bool = False) -> dict[str, Any]:
    """A nested config by dotted keys, without what changes no number.

    Args:
        config: Part of a config.
        keep_root (bool): Keep ``data_root`` and paths below it as they are. Default: drop
            the key, and its value from the beginning of other paths, so that the same data
            at another place give the same settings.
    """
    idle = {'init_cfg', '_scope_', 'backend_args', 'val_interval', 'outfile_prefix', 'format_only'}
    found: dict[str, Any] = {}

    def walk(value: Any, key: str) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                if name not in idle and (keep_root or name != 'data_root'):
                    walk(item, f'{key}.{name}' if key else name)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, f'{key}.{index}')
        elif value is not None:
            found[key] = value

    walk(plain(config), '')
    return found
