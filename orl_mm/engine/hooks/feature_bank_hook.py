"""Compute the features of the training images before a k-NN test."""

from time import perf_counter
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.runner.amp import autocast
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from orl_mm.progress import unwrapped_model
from orl_mm.registry import HOOKS


@HOOKS.register_module()
class FeatureBankHook(Hook):
    """Before a test, compute the features of labeled images and pass them to the model.

    For a model with ``extract_feat(images) -> (B, D)`` and ``set_bank(features, labels,
    total)``, such as ``KNNProbe``. Each process keeps the features of its share of the images,
    every image once: 4 * D bytes an image over all processes, 10.5 GB for ImageNet's
    1,281,167 and D = 2048.

    Args:
        dataloader (dict): Of the images, as ``test_dataloader``; the sampler is this hook's.
        device (str, optional): Of the features; the model's by default. Use ``'cpu'`` if
            they do not fit: they are then copied for every batch of the test.

    Raises:
        ValueError: No data set given; a model without these methods, images without a
            label or fewer than processes, or features that are not finite.
    """

    def __init__(self, dataloader: dict, device: str | None = None) -> None:
        if 'dataset' not in dataloader:
            raise ValueError(
                'dataloader of FeatureBankHook needs a dataset with labels, got the '
                f'keys {sorted(dataloader)}'
            )
        self.dataloader, self.device = dataloader, device

    def before_test(self, runner: Runner) -> None:
        """Compute the features; the checkpoint is loaded by then."""
        model = unwrapped_model(runner)
        if not (hasattr(model, 'extract_feat') and hasattr(model, 'set_bank')):
            raise ValueError(
                'FeatureBankHook needs a model with extract_feat and set_bank, such '
                f'as orl_mm.KNNProbe, got {type(model).__name__}'
            )
        start = perf_counter()
        loader = self._loader(runner, model)
        total = len(loader.dataset)  # type: ignore[arg-type]  # torch's Dataset has no len
        if total < get_world_size():
            raise ValueError(
                f'{total} images to compare with are fewer than the '
                f'{get_world_size()} processes: use fewer'
            )
        with autocast(enabled=runner.test_loop.fp16):
            features, labels = self._features(model, loader)
        wrong = (~torch.isfinite(features)).sum()
        all_reduce(wrong)
        if wrong:
            raise ValueError(
                'features of the training images hold values that are not finite: '
                'the network has diverged, or the checkpoint is not its own'
            )
        model.set_bank(features, labels, total)
        print_log(
            f'Features of {total} images to compare with, '
            f'{features.shape[1]} numbers each, in {perf_counter() - start:.1f} s',
            logger='current',
        )

    def _loader(self, runner: Runner, model: torch.nn.Module) -> DataLoader:
        """Rank r sees images r, r + processes, ...: each image is seen once."""
        config = dict(
            self.dataloader,
            drop_last=False,
            persistent_workers=False,
            sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
        )
        config.setdefault('collate_fn', dict(type='default_collate'))
        config['pin_memory'] = next(model.parameters()).device.type == 'cuda'
        return runner.build_dataloader(config, seed=runner.seed)

    @torch.no_grad()
    def _features(self, model: Any, loader: DataLoader) -> tuple[Tensor, Tensor]:
        """(n, D) and (n,) of this process's images; memory is allocated once."""
        model.eval()
        count, done = len(loader.sampler), 0  # type: ignore[arg-type]
        features, labels = torch.empty(0), torch.empty(0, dtype=torch.int64)
        for batch in tqdm(
            loader, 'training features', disable=not is_main_process(), mininterval=2
        ):
            batch = model.data_preprocessor(batch, False)
            found = model.extract_feat(batch['inputs'])
            if any('gt_label' not in sample for sample in batch['data_samples']):
                raise ValueError(
                    'FeatureBankHook needs images with gt_label: use a data set '
                    'with labels, such as mmpretrain.ImageNet'
                )
            if not done:
                features = found.new_empty(count, found.shape[1], device=self.device)
                labels = torch.empty(count, dtype=torch.int64, device=features.device)
            rows = slice(done, done + len(found))
            features[rows] = found
            labels[rows] = torch.cat([sample.gt_label for sample in batch['data_samples']]).to(
                features.device
            )
            done += len(found)
        return features, labels
