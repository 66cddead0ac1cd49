"""Make mmengine's loading of a checkpoint that does not fit an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import checkpoint as mm_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from .architecture import MIN_MATCH
from .load import find_prefixes

# No checkpoint has them: counters of batches, and the offsets that deformable
# convolutions (mmdet's dconv configs) add to a pretrained backbone.
NOT_COUNTED = ('num_batches_tracked', 'conv_offset')


@contextmanager
def checkpoints_must_fit(whole: bool = False, min_match: float = MIN_MATCH) -> Iterator[None]:
    """Within this context, loading a checkpoint that leaves a module as it was is an error.

    mmengine loads the names that match, logs the others and goes on, with a random network
    if need be. Here at least ``min_match`` of the parameters and statistics of the module's
    ``backbone`` must be filled: a network may get a new head or, as R2O does, make its
    target from the online network. A module without ``backbone``, such as a backbone
    itself, counts as a whole; of a whole model without one, half is enough, since its new
    head cannot be told apart. Concerns ``load_from``, ``resume`` and
    ``init_cfg=dict(type='Pretrained')``.

    Args:
        whole (bool): Count every tensor of a module, as testing needs.
        min_match (float): The share, in [0, 1]; 0 switches the check off.

    Raises:
        ValueError: On loading, with the file, the share, and how to name it right.
    """
    if not isinstance(min_match, (int, float)) or not 0 <= min_match <= 1:
        raise ValueError(f'min_match must be a share between 0 and 1, got {min_match!r}')
    load, read = mm_checkpoint.load_state_dict, CheckpointLoader.load_checkpoint
    last_file = 'given'

    def read_and_note(filename: str, *args: Any, **kwargs: Any) -> Any:
        nonlocal last_file
        last_file = filename
        return read(filename, *args, **kwargs)

    def load_and_check(module: Any, state_dict: dict, *args: Any, **kwargs: Any) -> None:
        while is_model_wrapper(module) or isinstance(module, BaseTTAModel):
            module = module.module
        own = _counted(module)
        # Loading counts a tensor's version up, also where a module renames or resizes.
        before = {name: value._version for name, value in own.items()}
        load(module, state_dict, *args, **kwargs)
        filled = {name for name, value in own.items() if value._version != before[name]}
        _check(module, list(own), filled, state_dict, last_file, whole, min_match)

    with (
        mock.patch.object(mm_checkpoint, 'load_state_dict', load_and_check),
        mock.patch.object(CheckpointLoader, 'load_checkpoint', staticmethod(read_and_note)),
    ):
        yield


def _counted(module: nn.Module) -> dict[str, Tensor]:
    state = mm_checkpoint.get_state_dict(module, keep_vars=True)
    return {
        name: value
        for name, value in state.items()
        if isinstance(value, Tensor) and not any(part in name for part in NOT_COUNTED)
    }


def _check(
    module: nn.Module,
    own: list[str],
    filled: set[str],
    given: dict,
    file: str,
    whole: bool,
    min_match: float,
) -> None:
    part, title = '', type(module).__name__
    if not whole and isinstance(getattr(module, 'backbone', None), nn.Module):
        part, title = 'backbone.', f"{title}'s backbone {type(module.backbone).__name__}"
    elif not whole and hasattr(module, 'data_preprocessor'):
        min_match = min(min_match, 0.5)
    wanted = [name for name in own if name.startswith(part)]
    done = sum(name in filled for name in wanted)
    if done >= min_match * len(wanted):
        return
    left = next(name for name in wanted if name not in filled)
    hint = 'it is of another architecture: use the config it was trained with, or another file'
    prefixes = {} if whole else find_prefixes(given, {name[len(part) :] for name in wanted})
    best = next(iter(prefixes), part)
    if best != part and prefixes[best] >= min_match * len(wanted):
        where = 'model.backbone.init_cfg' if part else 'the init_cfg'
        hint = (
            f'its names stand under the prefix {best!r}: give {where} '
            "type='orl_mm.PretrainedBackbone', which finds it, and checkpoint=FILE"
        )
    if done:
        hint += f'. If so few are meant: --cfg-options min_match={100 * done // len(wanted) / 100}'
    raise ValueError(
        f'the checkpoint {file} fills {done} of the {len(wanted)} tensors of {title}, fewer than '
        f'{min_match:.0%} (not {left}; the file begins with {next(iter(given), "nothing")}); {hint}'
    )
