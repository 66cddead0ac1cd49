"""Draws of the networks as a function of the step."""

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from orl_mm.progress import iteration
from orl_mm.registry import HOOKS


@HOOKS.register_module()
class SeedStepHook(Hook):
    """Seed torch's generators before each step, from the seed, the rank and the step.

    Stochastic depth and dropout draw from them. A resumed run starts again from the run's
    seed and would draw what the first steps drew; with this hook it draws what the unbroken
    run would have drawn, so that both are equal bit for bit. ``SeedSample`` does so for the
    images; numpy's and python's generators are left alone.
    """

    # After SetEpochHook (HIGH), before anything that may draw.
    priority = 'ABOVE_NORMAL'

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        """Seed CPU and device."""
        entropy = (runner.seed or 0, get_rank(), iteration(runner, batch_idx))
        # Through SeedSequence, since neighbouring seeds must not give related draws.
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1))
