"""Make random draws within the network reproducible when a run is resumed."""

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

    Stochastic depth, dropout and sampling in ``loss()`` draw from them. A resumed run would
    otherwise start from the run's seed again and repeat the draws of the first steps; with this
    hook it equals the uninterrupted run bit for bit. ``SeedSample`` does the same for images.
    The generators of numpy and python are not touched.
    """

    # After SetEpochHook (HIGH), before hooks that may draw.
    priority = 'ABOVE_NORMAL'

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        """Seed CPU and device."""
        entropy = (runner.seed or 0, get_rank(), iteration(runner, batch_idx))
        # Through SeedSequence, since neighboring seeds must not give related draws.
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1))
