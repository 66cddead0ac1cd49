"""Which checkpoint ``--resume`` continues from, and with which settings of the optimizer."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import Runner

from orl_mm.errors import UserError
from orl_mm.progress import unwrapped_model
from orl_mm.schedules import ParamSchedule
from orl_mm.weights.files import allowed_globals, check_intact

STATE = ('meta', 'state_dict', 'optimizer', 'message_hub')  # what resuming needs


class Found(NamedTuple):
    """The checkpoints of a work directory.

    Attributes:
        newest (Path or None): The newest that is whole and can be resumed.
        passed_over (dict): Newer or unreadable ones, each with the reason.
        iteration (int): Of ``newest``.
    """

    newest: Path | None
    passed_over: dict[Path, str]
    iteration: int = 0


def find_checkpoint(work_dir: str | Path, out_dir: str | Path | None = None) -> Found:
    """Look for the newest whole checkpoint of a work directory.

    The time of saving that the file itself holds (in seconds) decides, since copying changes
    times of files and an earlier run in the folder may have had higher numbers. Every record is
    compared with its checksum. ``last_checkpoint`` only adds the file that it names.

    Args:
        work_dir (str or Path): Of the run.
        out_dir (str or Path, optional): That of the checkpoint hook.
    """
    work_dir = Path(work_dir)
    folders = [work_dir] + ([Path(out_dir) / work_dir.resolve().name] if out_dir else [])
    files = {path for folder in folders for path in folder.glob('*.pth') if path.is_file()}
    files |= {path for path in [_pointed(work_dir)] if path is not None}
    passed_over, incomplete, order = {}, {}, []
    for path in sorted(files):
        try:
            meta, missing = _read_meta(path)
        except Exception as error:  # whatever damage makes zip and torch raise
            passed_over[path] = _reason(error)
            continue
        if missing:
            incomplete[path] = f'no {missing[0]} in it'
        elif meta:
            order.append((str(meta.get('time', '')), path.stat().st_mtime_ns, path, meta['iter']))
    for *_, path, iteration in sorted(order, reverse=True):
        try:
            check_intact(path)
        except Exception as error:
            passed_over[path] = _reason(error)
            continue
        return Found(path, passed_over, iteration)
    return Found(None, passed_over | incomplete)


def choose_checkpoint(runner: Runner) -> None:
    """Make a runner resume from the newest whole checkpoint of its work directory.

    Rank 0 looks, all ranks take what it found. Without any checkpoint the run starts at step 0.
    A run that does not resume warns if there are checkpoints; one that names a file is left
    as it is.

    Args:
        runner (Runner): Before training.

    Raises:
        UserError: There are checkpoints, but none that can be resumed.
    """
    if runner._resume and runner._load_from:
        return
    shared: list = [None]
    if is_main_process():
        hook = (runner.cfg.get('default_hooks') or {}).get('checkpoint') or {}
        shared = [find_checkpoint(runner.work_dir, hook.get('out_dir'))]
    broadcast_object_list(shared)
    newest, passed_over, iteration = shared[0]
    why = '; '.join(f'{path.name}: {reason}' for path, reason in passed_over.items())
    folder = runner.work_dir
    if not runner._resume:
        if newest or why:
            runner.logger.warning(
                f'{folder} holds checkpoints of an earlier run. This run starts at step 0 and '
                'replaces those of the same name; --resume continues from '
                f'{newest.name if newest else "none of them"}'
            )
        return
    if newest is None and why:
        raise UserError(
            f'no checkpoint in {folder} can be resumed ({why}). To start at step 0, leave '
            '--resume out or move them away'
        )
    if newest is None:
        runner._resume = False
        runner.logger.info(f'--resume: {folder} holds no checkpoint, the run starts at step 0')
        return
    runner._load_from = str(newest)
    runner.logger.info(
        f'--resume: {newest}, iteration {iteration}, is the newest whole checkpoint'
        + (f'; passed over: {why}' if why else '')
    )


def fit_optimizer(runner: Runner, checkpoint: dict) -> None:
    """Let this run's settings of the optimizer replace those of the checkpoint it resumes.

    Otherwise loading the optimizer's state brings back the old weight decay, momentum and so
    on. What a scheduler sets stays to the scheduler: :class:`ParamSchedule` continues with this
    run's values and logs it, mmengine's with those of the checkpoint, of which this warns.

    Args:
        runner (Runner): With its optimizer built.
        checkpoint (dict): Its optimizer's groups are changed.

    Raises:
        UserError: The parameter groups of the same network differ.
    """
    optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
    state = checkpoint['optimizer']
    if optimizer is None or 'param_groups' not in state:  # several optimizers
        return
    groups, saved = optimizer.param_groups, state['param_groups']
    sizes = [[len(group['params']) for group in some] for some in (groups, saved)]
    if sizes[0] != sizes[1]:
        if unwrapped_model(runner).state_dict().keys() != checkpoint['state_dict'].keys():
            return  # another network, which loading its weights reports
        raise UserError(
            f'the optimizer has {len(groups)} groups of {sum(sizes[0])} parameters, in the '
            f'checkpoint {runner._load_from} {len(saved)} groups of {sum(sizes[1])}: another '
            'paramwise_cfg, constructor or frozen part. Resume with the settings that it was '
            'trained with, or start from its weights by load_from'
        )
    schedulers = runner.param_schedulers or []
    if isinstance(schedulers, dict):
        schedulers = [one for several in schedulers.values() for one in several]
    driven = {one.param_name: isinstance(one, ParamSchedule) for one in schedulers}
    changes: dict[str, None] = {}
    for group, old in zip(groups, saved, strict=True):
        for key in sorted((group.keys() & old.keys()) - {'params', *driven}):
            if group[key] == old[key]:
                continue
            name = key.removeprefix('initial_')
            if name not in driven:
                changes[f'{key}={group[key]} replaces {old[key]} of the checkpoint'] = None
                old[key] = group[key]
            elif not driven[name]:
                changes[
                    f"{name}={group[key]} is not used: the checkpoint's schedule continues "
                    f'from {old[key]}'
                ] = None
    if changes:
        runner.logger.warning(f'Resumed optimizer: {"; ".join(changes)}')


def _pointed(work_dir: Path) -> Path | None:
    """The file that ``last_checkpoint`` names, also where the folder was moved."""
    try:
        named = Path((work_dir / 'last_checkpoint').read_text().strip())
        places = [work_dir / named.name, named]
        return next((path for path in places if named.name and path.is_file()), None)
    except (OSError, ValueError):  # none, or not text
        return None


def _read_meta(path: Path) -> tuple[dict, list[str]]:
    """``meta`` of a checkpoint, and what resuming misses in it; reads no tensor.

    Empty for weights without training state and for a network before its first step.

    Raises:
        Exception: It is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith('/data.pkl'):
                archive.read(name)  # compares it with its checksum
    with torch.serialization.safe_globals(allowed_globals()):
        content = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    meta = content.get('meta') if isinstance(content, dict) else None
    if not isinstance(meta, dict) or not meta.get('iter'):
        return {}, []
    return meta, [key for key in STATE if key not in content]


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
