"""Where a training run stands, in iterations and in epochs, for both kinds of loop."""

import math
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner


def unwrapped_model(runner: Runner) -> Any:
    """The model (an ``nn.Module``) itself, with any distributed wrapper taken off."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def by_epoch(runner: Runner) -> bool:
    """Whether the loop counts epochs; mmengine's ``IterBasedTrainLoop`` stays at epoch 0."""
    return isinstance(runner.train_loop, EpochBasedTrainLoop)


def epoch_length(runner: Runner) -> int:
    """Iterations that all processes together need for one pass over the training images."""
    loader = runner.train_dataloader
    if isinstance(loader.sampler, InfiniteSampler):  # its length ignores the processes
        return math.ceil(len(loader.dataset) / (loader.batch_size * get_world_size()))
    return len(loader)


def iteration(runner: Runner, batch_idx: int) -> int:
    """Number of iterations done before this one.

    In an epoch-based loop it is computed from the epoch, because ``runner.iter`` is wrong after
    a restart with another number of processes: epochs then have another length.
    """
    if by_epoch(runner):
        return runner.epoch * len(runner.train_dataloader) + batch_idx
    return runner.iter


def total_epochs(runner: Runner) -> int:
    """Passes over the data in the whole run; a pass that is cut short counts as one."""
    if by_epoch(runner):
        return runner.max_epochs
    return math.ceil(runner.max_iters / epoch_length(runner))


def epoch_at(runner: Runner, step: int) -> int:
    """Epoch, from 0, of an iteration; at most the last epoch of the run."""
    return min(step // epoch_length(runner), total_epochs(runner) - 1)
