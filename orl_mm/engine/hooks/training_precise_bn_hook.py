"""Precise batch-norm statistics from the forward pass that training makes."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.engine.hooks import PreciseBNHook
from mmpretrain.engine.hooks.precise_bn_hook import update_bn_stats
from torch import Tensor, nn
from torch.utils.data import DataLoader

from orl_mm.progress import unwrapped_model
from orl_mm.registry import HOOKS


@HOOKS.register_module()
class TrainingPreciseBNHook(PreciseBNHook):
    """mmpretrain's ``PreciseBNHook`` for detectors, also at the end of training.

    Running mean and variance of each layer become the averages over the batches of
    ``num_samples`` training images, with the weights as they are ("Rethinking 'Batch' in
    BatchNorm", arXiv 2105.07576, section 3). What differs from mmpretrain's:

    - Batches go through the data preprocessor and the model as in training, with
      ``mode='loss'``; detectron2's PreciseBN does the same. So heads normalise the
      regions they are trained on. In mmpretrain's ``mode='tensor'`` mmdet's mask
      head normalises the first 100 proposals of a batch, all of its first image.
    - Batches come from a loader of its own, as in detectron2, over the same data set. Taken
      from training's, they would be missing there, and a resumed run would see others.
    - It also runs after the last iteration or epoch, though that be no multiple of
      ``interval``: the last checkpoint is the one that is tested.
    - Its priority places it before the checkpoint is written.

    Args:
        num_samples (int): Images, over all processes; at most one pass over the data.
        interval (int): Iterations or epochs, as the training loop counts. Take that of
            validation and of checkpoints.

    Raises:
        ValueError: Numbers below 1; when training begins, a loader without a batch size, or
            fewer samples than one batch of all processes.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(self, num_samples: int = 8192, interval: int = 1) -> None:
        if num_samples < 1 or interval < 1:
            raise ValueError(
                f'num_samples={num_samples} and interval={interval} must be at least 1'
            )
        super().__init__(num_samples, interval)

    def before_train(self, runner: Runner) -> None:
        """Refuse at the start what would fail at the first interval."""
        batch = _batch_size(runner.train_dataloader) * runner.world_size
        if self.num_samples < batch:
            raise ValueError(
                f'num_samples={self.num_samples} of TrainingPreciseBNHook is less '
                f'than one batch of all processes, {batch}'
            )

    def after_train_epoch(self, runner: Runner) -> None:
        """In loops by epoch: every ``interval`` epochs and after the last."""
        if isinstance(runner.train_loop, EpochBasedTrainLoop) and (
            self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)
        ):
            self._perform_precise_bn(runner)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """In loops by iteration: every ``interval`` iterations and after the last."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop) and (
            self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)
        ):
            self._perform_precise_bn(runner)

    def _perform_precise_bn(self, runner: Runner) -> None:
        runner.logger.info(f'Batch-norm statistics anew, from {self.num_samples} samples')
        update_bn_stats(
            _LossMode(unwrapped_model(runner)),
            _own_loader(runner),
            self.num_samples,
            logger=runner.logger,
        )


class _LossMode(nn.Module):
    """A model whose plain call is its loss, since mmpretrain's function calls it plainly."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any = model

    def data_preprocessor(self, data: dict, training: bool = False) -> dict:
        # That function says False, with which mmdet pads no masks and augments no batch.
        return self.model.data_preprocessor(data, True)

    def forward(self, inputs: Tensor, data_samples: Sequence | None = None) -> dict:
        return self.model(inputs, data_samples, mode='loss')


def _batch_size(loader: DataLoader) -> int:
    """Images of a batch, also where a ``batch_sampler`` (mmdet's, by aspect) forms them."""
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
    if not size:
        raise ValueError(
            'TrainingPreciseBNHook averages over batches of one size, and the '
            'training loader has none: leave the hook or the batch_sampler out'
        )
    return size


def _own_loader(runner: Runner) -> DataLoader:
    """Training's images, shuffled by the iteration alone; no generator of the run is drawn from."""
    loader = runner.train_dataloader
    return DataLoader(
        loader.dataset,
        batch_size=_batch_size(loader),
        num_workers=loader.num_workers,
        sampler=InfiniteSampler(loader.dataset, shuffle=True, seed=runner.iter),
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
        pin_memory=loader.pin_memory,
        generator=torch.Generator().manual_seed(runner.iter),
    )
