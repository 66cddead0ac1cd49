"""Compute the features of a frozen backbone once, and train all epochs on them."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_gather, all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from orl_mm.progress import unwrapped_model
from orl_mm.registry import HOOKS


@HOOKS.register_module()
class FrozenFeaturesHook(Hook):
    """Swap the images of the training and validation loaders for their features.

    For a model whose backbone is frozen and whose pipeline draws nothing at random, such as
    ``LinearProbe``: before training each process runs the backbone over its share of the
    images, with the loader's own workers; then every process holds all features. Order,
    batches and shuffling are those of training on the images. A resumed run computes
    the features again. The test loader keeps its images.

    The model has ``extract_feat(images) -> (B, D)`` and takes features in the place of
    images.

    Raises:
        ValueError: At the start of training, a model without ``extract_feat``, parameters of
            its ``backbone`` that train, or a loop that is not epoch-based.
    """

    priority = 'HIGH'  # before hooks that look at the loaders

    def before_train(self, runner: Runner) -> None:
        """After weights were loaded, before the first epoch."""
        model = unwrapped_model(runner)
        if not hasattr(model, 'extract_feat'):
            raise ValueError(
                f'FrozenFeaturesHook needs a model with extract_feat, such as '
                f'orl_mm.LinearProbe, got {type(model).__name__}'
            )
        if any(p.requires_grad for p in model.backbone.parameters()):
            raise ValueError(
                'FrozenFeaturesHook needs a frozen backbone: some of its parameters '
                'have requires_grad=True'
            )
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(
                'FrozenFeaturesHook needs an epoch-based training loop: '
                "train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=...)"
            )
        for name, loop in (('train', runner.train_loop), ('val', runner.val_loop)):
            if loop is not None:
                loop.dataloader = self._swapped(runner, loop.dataloader, name)

    def _swapped(self, runner: Runner, loader: DataLoader, name: str) -> DataLoader:
        start = perf_counter()
        features = frozen_features(runner, loader, name)
        print_log(
            f'Features of {len(features)} {name} images, {features.features.shape[1]} '
            f'numbers each, in {perf_counter() - start:.1f} s',
            logger='current',
        )
        return DataLoader(
            features,
            batch_size=loader.batch_size,
            sampler=loader.sampler,
            drop_last=loader.drop_last,
            collate_fn=_as_it_is,
        )


class FrozenFeatures(Dataset):
    """Features and data samples of N images; whole batches are read at once.

    Attributes:
        features (Tensor): (N, D) float32.
        samples (list): N data samples.
    """

    def __init__(self, features: Tensor, samples: list[DataSample], metainfo: Any = None) -> None:
        self.features, self.samples, self.metainfo = features, samples, metainfo

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        return dict(inputs=self.features[indices], data_samples=[self.samples[i] for i in indices])


@torch.no_grad()
def frozen_features(runner: Runner, loader: DataLoader, name: str = '') -> FrozenFeatures:
    """Run the model's backbone over all images of a loader, once, in the data set's order.

    Args:
        runner (Runner): Gives the model and, by its optimizer wrapper, the precision.
        loader (DataLoader): Its data set, batch size, workers and collation are used.
        name (str): For the progress.
    """
    model, dataset = unwrapped_model(runner), loader.dataset
    share = DefaultSampler(dataset, shuffle=False, seed=0)  # rank, rank + processes, ...
    images = DataLoader(
        dataset,
        batch_size=loader.batch_size,
        sampler=share,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
        pin_memory=loader.pin_memory,
    )
    training = model.training
    model.eval()
    features, labels, names = [], [], []
    for batch in tqdm(images, f'{name} features', disable=not is_main_process(), mininterval=2):
        batch = model.data_preprocessor(batch, False)
        with runner.optim_wrapper.optim_context(runner.model):
            features.append(model.extract_feat(batch['inputs']).float().cpu())
        labels += [
            sample.gt_score.cpu() for sample in batch['data_samples'] if 'gt_score' in sample
        ]
        names += [sample.metainfo for sample in batch['data_samples']]
    model.train(training)
    samples = [DataSample(metainfo=meta) for meta in _joined(all_gather_object(names))]
    if labels and len(labels) < len(names):
        raise ValueError(f'only {len(labels)} of {len(names)} images have labels')
    if labels:
        for sample, label in zip(samples, _joined(all_gather(torch.stack(labels))), strict=True):
            sample.set_gt_score(label)
    n = len(dataset)  # type: ignore[arg-type]  # torch's Dataset has no len
    return FrozenFeatures(
        torch.stack(_joined(all_gather(torch.cat(features)))[:n]),
        samples[:n],
        getattr(dataset, 'metainfo', None),
    )


def _joined(of_process: Sequence[Sequence]) -> list:
    """Rank r holds images r, r + processes, ...; the last ones may be there twice."""
    return [item for row in zip(*of_process, strict=False) for item in row]


def _as_it_is(batch: Any) -> Any:
    return batch
