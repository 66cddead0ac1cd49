"""A checkpoint fills the network that loads it, or loading it is an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner import checkpoint as mm_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from orl_mm.models.utils.weight_names import find_prefixes

from .cli import UserError

# No checkpoint has them: counters of batches, and the offsets that deformable
# convolutions (mmdet's dconv configs) add to a pretrained backbone.
NOT_COUNTED = ('num_batches_tracked', 'conv_offset')


@contextmanager
def checkpoints_must_fit(whole: bool = False, min_match: float = 0.99) -> Iterator[None]:
    """Refuse, while it lasts, a checkpoint that leaves most of a module as it was.

    mmengine loads the names that fit, logs the others and goes on, with a random
    network if need be. Here at least ``min_match`` of the parameters and buffers
    of the module's ``backbone`` must be filled: a network may get a new head or,
    as R2O does, make its target from the online network. A module without
    ``backbone``, such as a backbone itself, counts as a whole; of a whole model
    without one half is enough, for there the new head cannot be told apart.
    Concerns ``load_from`` and ``init_cfg=dict(type='Pretrained')``; ``resume``
    goes on with what this program wrote.

    Args:
        whole (bool): Count every tensor of a module, as testing needs.
        min_match (float): The share, in [0, 1]; 0 switches the check off.

    Raises:
        UserError: On loading, with the file, the share, and how to name it right.
    """
    if not isinstance(min_match, (int, float)) or not 0 <= min_match <= 1:
        raise UserError(f'min_match must be a share between 0 and 1, got {min_match!r}')
    load, read, resume = (
        mm_checkpoint.load_state_dict,
        CheckpointLoader.load_checkpoint,
        Runner.resume,
    )
    now = dict(file='the weights', resuming=False)

    def read_and_note(filename: str, *args, **kwargs) -> Any:
        now['file'] = filename
        return read(filename, *args, **kwargs)

    def resume_unchecked(self, *args, **kwargs) -> None:
        now['resuming'] = True
        try:
            resume(self, *args, **kwargs)
        finally:
            now['resuming'] = False

    def load_and_check(module: nn.Module, state_dict: dict[str, Tensor], *args, **kwargs) -> None:
        while is_model_wrapper(module) or isinstance(module, BaseTTAModel):
            module = module.module
        own = _tensors(module)
        # A tensor that is written to counts it; so renamed and resized weights,
        # which modules take care of while loading, are seen too.
        before = {name: value._version for name, value in own.items()}
        load(module, state_dict, *args, **kwargs)
        filled = {
            name
            for name, value in own.items()
            if value._version != before[name]
            or name in state_dict
            and state_dict[name].shape == value.shape
        }
        if not now['resuming']:
            _check(module, own, filled, state_dict, now['file'], whole, min_match)

    with (
        _instead(mm_checkpoint, 'load_state_dict', load_and_check),
        _instead(CheckpointLoader, 'load_checkpoint', staticmethod(read_and_note)),
        _instead(Runner, 'resume', resume_unchecked),
    ):
        yield


@contextmanager
def _instead(owner: Any, name: str, function: Any) -> Iterator[None]:
    original = vars(owner)[name]
    setattr(owner, name, function)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    state = mm_checkpoint.get_state_dict(module, keep_vars=True)
    return {
        name: value
        for name, value in state.items()
        if isinstance(value, Tensor) and not any(part in name for part in NOT_COUNTED)
    }


def _check(
    module: nn.Module,
    own: dict[str, Tensor],
    filled: set[str],
    given: dict,
    file: str,
    whole: bool,
    min_match: float,
) -> None:
    part, what = '', type(module).__name__
    if not whole and isinstance(getattr(module, 'backbone', None), nn.Module):
        part, what = 'backbone.', f"{what}'s backbone {type(module.backbone).__name__}"
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
    raise UserError(
        f'the checkpoint {file} fills {done} of the {len(wanted)} tensors of {what}, fewer than '
        f'{min_match:.0%} (not {left}; the file begins with {next(iter(given), "nothing")}); '
        f'{hint}'
        + (
            f'. If so few are meant: --cfg-options min_match={100 * done // len(wanted) / 100}'
            if done
            else ''
        )
    )
