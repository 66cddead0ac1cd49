import logging
import random

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from orl_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SeedSample(BaseTransform):
    """Seed every generator from (seed, epoch, sample index); comes first.

    mmengine seeds a worker when it starts, in the same way each epoch, and
    saves no generator's state. So without this the augmentations depend on
    the number of workers and ranks, and a resumed run differs from an
    unbroken one. With it they depend on three numbers alone.

    The epoch lives in shared memory, where :class:`SetEpochHook` writes it
    before the workers draw: persistent workers, forked or spawned, see it.
    With ``num_workers=0`` this seeds the main process's generators too, so
    there a model that draws from the global ones draws what the last sample
    left.

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
        """The epoch all workers see; 0 where none was ever set."""
        return max(0, int(self._epoch[0]))

    def set_epoch(self, epoch: int) -> None:
        """Tell this process and all workers of the data loader the epoch."""
        self._epoch[0] = int(epoch)

    def transform(self, results: dict) -> dict:
        if 'sample_idx' not in results:
            raise ValueError(
                'SeedSample needs results["sample_idx"], which mmengine\'s '
                'BaseDataset provides; this data set gives '
                f'{sorted(results)}'
            )
        if self._epoch[0] < 0:
            self._warn_unset()
        words = np.random.SeedSequence(
            [self.seed, self.epoch, int(results['sample_idx'])]
        ).generate_state(6)
        np.random.seed(words[:4])
        random.seed(words[:4].tobytes())
        # Not torch.manual_seed: it also queues a seed for every GPU, which
        # costs more than the rest together and is not ours to touch.
        torch.default_generator.manual_seed(int(words[4]) << 31 ^ int(words[5]))
        return results

    def _warn_unset(self) -> None:
        if not self._warned and torch.utils.data.get_worker_info() is not None:
            self._warned = True
            print_log(
                'SeedSample was never told the epoch, so every epoch gets the '
                'same augmentations: add dict(type="orl_mm.SetEpochHook") to '
                'custom_hooks',
                logger='current',
                level=logging.WARNING,
            )

    def __deepcopy__(self, memo):
        # A copied tensor would leave shared memory, and its workers would
        # never hear of an epoch again.
        copy = type(self)(self.seed)
        copy._epoch[0] = self._epoch[0]
        return copy

    def __repr__(self) -> str:
        return f'{type(self).__name__}(seed={self.seed})'
