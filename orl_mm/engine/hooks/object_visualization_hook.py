from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mmengine.runner import Runner

from orl_mm.progress import unwrapped_model
from orl_mm.registry import HOOKS
from orl_mm.visualization import match_ids, objects_panel, rank_by_size, views_panel
from orl_mm.visualization.probe import FixedBatch
from orl_mm.visualization.samples import load_samples, spread_indices

from .picture_hook import PictureHook


@HOOKS.register_module()
class ObjectVisualizationHook(PictureHook):
    """Draw the prior masks beside R2O's refined objects while training (thesis, figure 2.1).

    ``step_*.png`` shows the objects, ``views_*.png`` the views of the same images with their
    objects; see :class:`PictureHook` for when and where. Views are drawn once, with a fixed
    seed, through the training pipeline.

    The images are clustered among ``batch_size`` in all, normalized by the statistics of that
    batch, as in training; a few images alone would be cut into finer objects. An object has
    one color in all images, and keeps it from picture to picture as far as overlap tells,
    although K-means numbers its clusters anew each time.

    The run is not affected: random generators, running statistics, modes and the count of
    clusterings stay as they were. On several GPUs, synchronised batch norms use only the batch
    of rank 0, so pictures are based on ``batch_size`` images, not on the whole batch.

    Args:
        interval, num_images, indices, seed, out_dir: See :class:`PictureHook`.
        batch_size (int, optional): Images to cluster together, at least those drawn.
            Default: the data loader's batch size.
        compare_start (bool): Also show the objects at the start of this run.

    Raises:
        ValueError: The model has no ``find_objects``, the data have no whole image, or an
            index lies outside the data set; at the start of training.
    """

    what = 'Prior masks beside the refined objects'

    def __init__(
        self,
        interval: int = 1000,
        num_images: int = 4,
        indices: Sequence[int] | None = None,
        batch_size: int | None = None,
        compare_start: bool = True,
        seed: int = 0,
        out_dir: str = 'objects',
    ) -> None:
        super().__init__(interval, num_images, indices, seed, out_dir)
        self.batch_size, self.compare_start = batch_size, compare_start

    def _load(self, runner: Runner) -> FixedBatch:
        self._first: tuple[str, np.ndarray] | None = None
        self._last: np.ndarray | None = None
        model, loader = unwrapped_model(runner), runner.train_dataloader
        if not hasattr(model, 'find_objects'):
            raise ValueError(
                f'{type(model).__name__} finds no objects to draw: take '
                'ObjectVisualizationHook out of custom_hooks, or train orl_mm.R2O'
            )
        num = len(loader.dataset)
        drawn = list(self.indices or spread_indices(num, self.num_images))
        size = max(len(drawn), self.batch_size or getattr(loader, 'batch_size', None) or 1)
        others = [i for i in spread_indices(num, size) if i not in drawn]
        chosen = drawn + others[: size - len(drawn)]
        data = load_samples(loader.dataset, chosen, loader.collate_fn, self.seed)
        return FixedBatch(data, len(drawn))

    def _figures(self, runner: Runner, step: int) -> dict[str, tuple[str, Figure]]:
        model: Any = unwrapped_model(runner)
        batch = self._batch
        labels = batch.objects(model)
        labels = rank_by_size(labels) if self._last is None else match_ids(labels, self._last)
        columns = [(f'objects at step {step}', labels[: batch.num_drawn])]
        if self._first is None:
            self._first = columns[0]
        elif self.compare_start:
            columns.insert(0, self._first)
        self._last = labels
        images, *views = batch.pictures(model.data_preprocessor)
        clusters, epochs = model.refiner.num_clusters, runner.max_epochs
        # max_epochs is 1 where the training loop counts steps only.
        epoch = f' (epoch {min(runner.epoch + 1, epochs)} of {epochs})' if epochs > 1 else ''
        what = 'no clustering' if clusters is None else f'K = {clusters}'
        where = f'step {step}{epoch}, {what}'
        note = (
            f'One color is one cluster in all images; clustered among {len(labels)} images '
            'by the target network.'
        )
        objects = objects_panel(images, batch.priors, columns, f'R2O, {where}', note)
        ids, title = labels[: batch.num_drawn], f'Views and their masks, {where}'
        return dict(
            objects=('', objects),
            views=('views', views_panel(images, batch.views, views, ids, title)),
        )
