"""Precise batch-norm statistics, computed with the forward pass of training."""

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

    Running mean and variance of each layer become averages over the batches of ``num_samples``
    training images with the current weights ("Rethinking 'Batch' in BatchNorm", arXiv
    2105.07576, section 3). Differences from mmpretrain's hook:

    - Batches go through the data preprocessor and the model as in training, with
      ``mode='loss'``, as in detectron2's PreciseBN, so that heads normalize the regions they
      are trained on. In ``mode='tensor'`` mmdet's mask head would normalize the first 100
      proposals of a batch, all from its first image.
    - Batches come from a separate loader over the same data set, as in detectron2. Batches of
      the training loader would be missing in training and differ in a resumed run.
    - It also runs after the last iteration or epoch, and before the checkpoint is written.

    Args:
        num_samples (int): Images, over all processes; at most one pass over the data.
        interval (int): Iterations or epochs, whichever the training loop counts; usually that
            of validation and checkpoints.

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
        """Check the number of samples."""
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
        runner.logger.info(f'Computing batch-norm statistics from {self.num_samples} samples')
        update_bn_stats(
            _LossMode(unwrapped_model(runner)),
            _own_loader(runner),
            self.num_samples,
            logger=runner.logger,
        )


class _LossMode(nn.Module):
    """Model whose ``forward`` computes the loss, as ``update_bn_stats`` passes no mode."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any = model

    def data_preprocessor(self, data: dict, training: bool = False) -> dict:
        # update_bn_stats passes False, with which mmdet neither pads masks nor augments batches.
        return self.model.data_preprocessor(data, True)

    def forward(self, inputs: Tensor, data_samples: Sequence | None = None) -> dict:
        return self.model(inputs, data_samples, mode='loss')


def _batch_size(loader: DataLoader) -> int:
    """Images of a batch, also if a ``batch_sampler`` (such as mmdet's, by aspect) forms them."""
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
    if not size:
        raise ValueError(
            'TrainingPreciseBNHook averages over batches of one size, and the '
            'training loader has none: remove the hook or the batch_sampler'
        )
    return size


def _own_loader(runner: Runner) -> DataLoader:
    """Loader of the training images, shuffled by the iteration; uses no generator of the run."""
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
