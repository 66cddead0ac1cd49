"""Which error is the user's mistake, in one line."""

import difflib
import inspect
import json
import os
import re
from pathlib import Path
from types import FrameType

from orl_mm.map_cache.entry import CacheError

# Functions of mmengine in which a run is prepared; what fails in them follows
# from the config, the data it names, or a checkpoint.
PREPARING = {'build_from_cfg', 'init_weights', 'load_or_resume'}
# Readers of checkpoints; where they are called from does not matter.
READERS = str(Path(__file__).parents[1] / 'weights') + os.sep
MISSING_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)

_UNEXPECTED = re.compile(
    r'(\w+)(?:\.__init__)?\(\) got an unexpected keyword '
    r"argument '(\w+)'"
)


def explain(error: Exception) -> str | None:
    """One line on the mistake behind ``error``; None if it may be a fault of the code.

    Mistakes are: an argument that a part does not take, a type that nothing
    registered, mmdet on an mmcv without compiled ops, a superpixel cache that
    does not serve, and, while parts are built and weights are loaded, a value
    or a file that these refuse.
    """
    frames, trace = [], error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    if isinstance(error, ModuleNotFoundError):
        return (
            "this config needs mmcv's compiled ops, and the installed mmcv has none; type: make ops"
            if error.name == 'mmcv._ext'
            else None
        )
    if isinstance(error, CacheError):
        # From a data worker it comes with the worker's traceback before it.
        return _one_line(str(error).split('CacheError: ')[-1])
    if isinstance(error, KeyError):
        return _unknown_type(frames) or _not_to_resume(error, frames)
    if isinstance(error, TypeError):
        return _unexpected_argument(error, frames)
    reading = frames and frames[-1].f_code.co_filename.startswith(READERS)
    if not reading and PREPARING.isdisjoint(frame.f_code.co_name for frame in frames):
        return None
    if isinstance(error, OSError) and not isinstance(error, MISSING_FILE):
        return None
    return _refused(error, frames) if str(error) or _lacks_data(error, frames) else None


def _lacks_data(error: Exception, frames: list[FrameType]) -> bool:
    """A file or folder that a data set did not find; mmseg's assert it, some without a word."""
    registry = _innermost_build(frames).get('registry')
    absent = (
        isinstance(error, OSError)
        or isinstance(error, AssertionError)
        and (not str(error) or str(error).startswith('Failed to load `ann_file`'))
    )
    return absent and getattr(registry, 'name', '') == 'dataset'


def _one_line(text: str) -> str:
    return ' '.join(text.split())


def _innermost_build(frames: list[FrameType]) -> dict:
    """The variables of the last call that built a part from its config."""
    builds = [frame for frame in frames if frame.f_code.co_name == 'build_from_cfg']
    return builds[-1].f_locals if builds else {}


def _unknown_type(frames: list[FrameType]) -> str | None:
    local = _innermost_build(frames)
    if 'obj_type' not in local or local.get('obj_cls') is not None:
        return None
    name, registry = str(local['obj_type']), local['registry']
    known = [f'{key}' for key in registry.module_dict]
    known += [
        f'{scope}.{key}'
        for scope, child in registry._get_root_registry().children.items()
        for key in child.module_dict
    ]
    near = difflib.get_close_matches(name, known, 1, 0.7)
    hint = (
        f'; did you mean {near[0]!r}?'
        if near
        else ('; its package may be missing from custom_imports')
    )
    return f'the config names the {registry.name} {name!r}, which nothing registered{hint}'


def _not_to_resume(error: KeyError, frames: list[FrameType]) -> str | None:
    """A file without the counters and the optimizer that ``Runner.resume`` takes up."""
    last = frames[-1]
    if last.f_code.co_name != 'resume' or 'checkpoint' not in last.f_locals:
        return None
    return (
        f'the checkpoint {last.f_locals["filename"]} has no {error.args[0]!r}: it holds '
        'weights, not a state of training to resume; start from its weights with '
        f'--cfg-options load_from={last.f_locals["filename"]}'
    )


def _unexpected_argument(error: TypeError, frames: list[FrameType]) -> str | None:
    match = _UNEXPECTED.search(str(error))
    if match is None:
        return None
    part, key = match.groups()
    local = _innermost_build(frames)
    taker = local.get('obj_cls') if key in local.get('args', {}) else None
    if taker is not None:
        part = getattr(taker, '__name__', part)
    elif os.sep + 'mmengine' + os.sep not in frames[-1].f_code.co_filename:
        return None
    takes = (
        []
        if taker is None
        else [
            name
            for name, value in inspect.signature(taker).parameters.items()
            if value.kind not in (value.VAR_KEYWORD, value.VAR_POSITIONAL)
        ]
    )
    near = difflib.get_close_matches(key, takes, 1)
    hint = f'; did you mean {near[0]!r}?' if near else ''
    if takes and not near:
        hint = f'; it takes {", ".join(takes)}'
    return f'the config gives {part} the argument {key!r}, which it does not take{hint}'


def _bad_list(error: Exception, frames: list[FrameType]) -> str | None:
    """A list of samples that is cut or empty; json and numpy speak of it without its name."""
    owners = [frame.f_locals.get('self') for frame in frames]
    files = [frame.f_locals.get('ann_file') for frame in frames]
    files += [getattr(owner, name, '') for name in ('data_root', 'ann_file') for owner in owners]
    file = next((file for file in reversed(files) if file and isinstance(file, str)), None)
    if file and isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
        return f'{file} is cut short or no json ({_one_line(str(error))}); extract it again'
    if file and '_serialize_data' in {frame.f_code.co_name for frame in frames}:
        return (
            f'{file} names no sample, or filter_cfg leaves none; see '
            'projects/data/README.md for what must be there'
        )
    return None


def _refused(error: Exception, frames: list[FrameType]) -> str:
    local, text = _innermost_build(frames), _bad_list(error, frames) or _one_line(str(error))
    part = local.get('obj_type')
    part = part if isinstance(part, str) else getattr(part, '__name__', None)
    if _lacks_data(error, frames):
        text = text or f'a file or folder of {_named(local.get("args") or {})} is not there'
        text += (
            '; put the data there or name its folder as the head of the config says, such as '
            '--cfg-options train_dataloader.dataset.data_root=FOLDER. tools/check_data.py says '
            'what is missing'
        )
    return f'{part}: {text}' if part else text


def _named(args: dict) -> str:
    """What a data set's config says of files and folders."""
    said = {key: args[key] for key in ('data_root', 'ann_file', 'data_prefix') if args.get(key)}
    return ', '.join(f'{key}={value!r}' for key, value in said.items()) or 'its config'
