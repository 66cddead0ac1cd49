"""Tell seeded transforms the epoch, so that augmentations differ from epoch to epoch."""

from collections.abc import Iterator
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.hooks import Hook
from mmengine.runner import Runner

from orl_mm.registry import HOOKS


@HOOKS.register_module()
class SetEpochHook(Hook):
    """Call ``set_epoch`` of every transform that has it (:class:`SeedSample`) in each epoch.

    Transforms are found in the training data set through wrappers (repeat, concatenate, subset)
    and nested pipelines. In a loop by iterations no hook runs between two passes over the data,
    so the sampler's ``set_epoch``, which mmengine calls there, is extended instead.

    Raises:
        ValueError: A seeded pipeline under ``InfiniteSampler``, which has no passes, so that
            each image would be augmented in one way only.
    """

    # Before the sampler's own hook (NORMAL): both before the workers start.
    priority = 'HIGH'

    def before_train(self, runner: Runner) -> None:
        """Find the transforms."""
        loader = runner.train_dataloader
        self._targets = list(find_epoch_aware(loader.dataset))
        sampler: Any = getattr(loader, 'sampler', None)
        if not hasattr(sampler, 'set_epoch'):
            sampler = getattr(getattr(loader, 'batch_sampler', None), 'sampler', None)
        if not self._targets:
            return
        if isinstance(sampler, InfiniteSampler):
            raise ValueError(
                'SeedSample draws the augmentations of an image from the epoch, and '
                'InfiniteSampler has none: use sampler=dict(type="DefaultSampler", shuffle=True), '
                'which mmengine restarts at the end of each pass, or remove SeedSample'
            )
        if hasattr(sampler, 'set_epoch'):
            original = sampler.set_epoch

            def set_epoch(epoch: int) -> None:
                original(epoch)
                self._set(epoch)

            sampler.set_epoch = set_epoch

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the epoch in loops by epoch."""
        self._set(runner.epoch)

    def _set(self, epoch: int) -> None:
        for transform in self._targets:
            transform.set_epoch(epoch)


def find_epoch_aware(part: Any, seen: set[int] | None = None) -> Iterator:
    """Yield every object with ``set_epoch`` in a data set's pipelines once.

    Args:
        part: A data set, a wrapper of data sets, a pipeline or a transform.
    """
    seen = set() if seen is None else seen
    if id(part) in seen or isinstance(part, (str, bytes, int, float)):
        return
    seen.add(id(part))
    if isinstance(part, dict):
        children = list(part.values())
    elif isinstance(part, (list, tuple)):
        children = list(part)
    else:
        if callable(getattr(part, 'set_epoch', None)):
            yield part
        children = [
            getattr(part, name)
            for name in ('dataset', '_dataset', 'datasets', 'pipeline', 'pipelines', 'transforms')
            if hasattr(part, name)
        ]
    for child in children:
        yield from find_epoch_aware(child, seen)
