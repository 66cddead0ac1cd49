from collections.abc import Iterator

from mmengine.hooks import Hook
from mmengine.runner import Runner

from orl_mm.registry import HOOKS


@HOOKS.register_module()
class SetEpochHook(Hook):
    """Tell every :class:`SeedSample` the epoch, before the workers draw.

    It looks for transforms with a ``set_epoch`` method in the training data
    set, through wrappers (repeat, concatenate, subset) and nested pipelines.

    With ``IterBasedTrainLoop`` no hook runs between two passes over the data,
    so the sampler's ``set_epoch`` is extended instead: mmengine calls it
    before each new pass. ``InfiniteSampler`` has no passes; as each image
    would then be augmented in one way only, it is refused.

    Raises:
        ValueError: A seeded pipeline under ``InfiniteSampler``.
    """

    # Before the sampler's own hook (NORMAL): both before the workers start.
    priority = 'HIGH'

    def before_train(self, runner: Runner) -> None:
        self._targets = list(find_epoch_aware(runner.train_dataloader.dataset))
        sampler = _sampler(runner.train_dataloader)
        if not self._targets:
            return
        if type(sampler).__name__ == 'InfiniteSampler':
            raise ValueError(
                'SeedSample draws the augmentations of an image from the '
                'epoch, and InfiniteSampler has none: use sampler=dict('
                'type="DefaultSampler", shuffle=True), which mmengine restarts '
                'at the end of each pass, or drop SeedSample'
            )
        if sampler is not None and hasattr(sampler, 'set_epoch'):
            self._follow(sampler)

    def before_train_epoch(self, runner: Runner) -> None:
        self._set(runner.epoch)

    def _set(self, epoch: int) -> None:
        for transform in self._targets:
            transform.set_epoch(epoch)

    def _follow(self, sampler) -> None:
        original = sampler.set_epoch

        def set_epoch(epoch: int) -> None:
            original(epoch)
            self._set(epoch)

        sampler.set_epoch = set_epoch


def find_epoch_aware(part, seen=None) -> Iterator:
    """Every object with ``set_epoch`` in a data set's pipelines, each once.

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


def _sampler(dataloader):
    sampler = getattr(dataloader, 'sampler', None)
    if hasattr(sampler, 'set_epoch'):
        return sampler
    return getattr(getattr(dataloader, 'batch_sampler', None), 'sampler', None)
