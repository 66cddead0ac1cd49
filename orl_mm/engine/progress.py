"""Where training stands, in iterations and epochs, in every kind of loop."""

import math

from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn


def unwrapped_model(runner: Runner) -> nn.Module:
    """The model itself, under ``MMDistributedDataParallel`` too."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def by_epoch(runner: Runner) -> bool:
    """Whether the loop counts epochs; mmengine's iteration-based loop stays at epoch 0."""
    return isinstance(runner.train_loop, EpochBasedTrainLoop)


def epoch_length(runner: Runner) -> int:
    """Iterations of one pass over the training images by all processes together."""
    loader = runner.train_dataloader
    if isinstance(loader.sampler, InfiniteSampler):  # its length ignores the processes
        return math.ceil(len(loader.dataset) / (loader.batch_size * get_world_size()))
    return len(loader)


def iteration(runner: Runner, batch_idx: int) -> int:
    """Iterations done before this one, from 0.

    In an epoch-based loop it follows from the epoch, so that it also holds after
    a restart with another number of processes, where epochs have another length
    than those ``runner.iter`` has counted.
    """
    if by_epoch(runner):
        return runner.epoch * len(runner.train_dataloader) + batch_idx
    return runner.iter


def total_iterations(runner: Runner) -> int:
    """Iterations of the whole training."""
    return runner.max_iters


def epoch_at(runner: Runner, step: int) -> int:
    """The epoch, from 0, in which an iteration lies; at most the last one."""
    return min(step // epoch_length(runner), total_epochs(runner) - 1)


def total_epochs(runner: Runner) -> int:
    """Passes over the data in the whole training, a started one included."""
    if by_epoch(runner):
        return runner.max_epochs
    return math.ceil(runner.max_iters / epoch_length(runner))
