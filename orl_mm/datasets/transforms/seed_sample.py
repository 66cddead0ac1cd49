import logging
import random

import numpy as np
import torch
from mmengine.logging import print_log

from orl_mm.registry import TRANSFORMS

from .transform import Transform


@TRANSFORMS.register_module()
class SeedSample(Transform):
    """Seed every random generator from (seed, epoch, sample index); the first step of a pipeline.

    mmengine seeds a worker when it starts, in the same way each epoch, and saves no generator's
    state. So without this transform the augmentations depend on the number of workers and
    ranks, and a resumed run differs from an uninterrupted one. With it they depend only on
    these three numbers.

    The epoch is in shared memory, where :class:`SetEpochHook` writes it before the workers
    draw, so that persistent workers, forked or spawned, see it. With ``num_workers=0`` this
    seeds the generators of the main process too, and a model that draws from the global ones
    continues from the last sample's state.

    Required Keys:

    - sample_idx (mmengine's ``BaseDataset`` puts it there)

    Args:
        seed (int): The run's seed. Defaults to 0.

    Raises:
        ValueError: No ``sample_idx`` in the sample.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = int(seed)
        self._epoch = torch.full((1,), -1, dtype=torch.int64).share_memory_()
        self._warned = False

    @property
    def epoch(self) -> int:
        """The epoch that all workers see; 0 until one is set."""
        return max(0, int(self._epoch.numpy()[0]))

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch for this process and all workers of the data loader."""
        self._epoch[0] = int(epoch)

    def transform(self, results: dict) -> dict:
        if 'sample_idx' not in results:
            raise ValueError(
                'SeedSample needs results["sample_idx"], which mmengine\'s '
                'BaseDataset provides; this data set gives '
                f'{sorted(results)}'
            )
        if self._epoch.numpy()[0] < 0:  # faster than indexing the tensor
            self._warn_unset()
        words = np.random.SeedSequence(
            [self.seed, self.epoch, int(results['sample_idx'])]
        ).generate_state(6)
        np.random.seed(words[:4])
        random.seed(words[:4].tobytes())
        # Not torch.manual_seed, which also queues a seed for every GPU: that takes longer than
        # all the rest, and those generators are not used here.
        torch.default_generator.manual_seed(int(words[4]) << 31 ^ int(words[5]))
        return results

    def _warn_unset(self) -> None:
        if not self._warned and torch.utils.data.get_worker_info() is not None:
            self._warned = True
            print_log(
                'the epoch of SeedSample was never set, so every epoch gets the '
                'same augmentations: add dict(type="orl_mm.SetEpochHook") to '
                'custom_hooks',
                logger='current',
                level=logging.WARNING,
            )

    def __deepcopy__(self, memo):
        # A copied tensor would not be in shared memory, so workers would not see the epoch.
        copy = type(self)(self.seed)
        copy._epoch[0] = self._epoch[0]
        return copy
