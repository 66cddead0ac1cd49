from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from orl_mm.engine.progress import unwrapped_model
from orl_mm.registry import HOOKS
from orl_mm.visualization import (
    figure_to_rgb,
    match_ids,
    objects_panel,
    rank_by_size,
    save_figure,
    views_panel,
)
from orl_mm.visualization.fixed_batch import FixedBatch, load_samples, spread_indices


@HOOKS.register_module()
class ObjectVisualizationHook(Hook):
    """Draw the prior masks beside the refined objects of a few images while training.

    The thesis's figure 2.1, at the start, every ``interval`` steps and at the end,
    and the two views of the same images with their masks. To
    ``<work_dir>/objects/step_0001000.png`` and ``views_0001000.png`` (the newest
    also as ``latest.png`` and ``latest_views.png``), and to the back ends of
    mmengine's visualizer, such as TensorBoard.

    The images come once, at the start, through the training pipeline, under a
    fixed seed: always the same views. They are clustered together with
    ``batch_size`` images in all, under the statistics of that batch, because so
    training clusters; four images alone would be cut finer. In each picture an
    object has one colour in all images, and keeps it from picture to picture as
    far as it can be followed (by overlap; the clusters themselves are new each
    time).

    Nothing of it reaches the run: generators, running statistics, modes and the
    count of clusterings stay as they were. Only rank 0 draws, without a
    collective (its synchronised norms take its own batch alone), so no rank
    waits for another here, and pictures of runs on many GPUs rest on
    ``batch_size`` images rather than on the whole batch.

    Args:
        interval (int): Steps between pictures. 0 or less: only start and end.
        num_images (int): How many images are drawn.
        indices (sequence, optional): Which images of the data set; by default
            evenly spread over it, beginning with the first. Replaces
            ``num_images``.
        batch_size (int, optional): Images to cluster together, at least those
            drawn. Default: the loader's batch size.
        compare_start (bool): Show also the objects as they were at the start of
            this run.
        seed (int): For the views.
        out_dir (str): Folder in the work directory.

    Raises:
        ValueError: The model finds no objects, the data have no whole image, or
            an index lies outside the data set; at the start of training.
    """

    # After the target was updated by MomentumUpdateHook, and K set by KMeansRefineHook.
    priority = 'VERY_LOW'

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
        if indices is None and num_images < 1:
            raise ValueError(f'num_images must be at least 1, got {num_images}')
        if indices is not None and not len(indices):
            raise ValueError('indices is empty; leave it out for evenly spread images')
        self.interval, self.num_images, self.indices = interval, num_images, indices
        self.batch_size, self.compare_start = batch_size, compare_start
        self.seed, self.out_dir = seed, out_dir
        self._forget()

    def before_train(self, runner: Runner) -> None:
        """Load the images."""
        self._forget()
        if not is_main_process():
            return
        model = unwrapped_model(runner)
        if not hasattr(model, 'find_objects'):
            raise ValueError(
                f'{type(model).__name__} finds no objects to draw: take '
                'ObjectVisualizationHook out of custom_hooks, or train '
                'orl_mm.R2O'
            )
        loader = runner.train_dataloader
        dataset = loader.dataset
        drawn = list(self.indices or spread_indices(len(dataset), self.num_images))
        size = max(len(drawn), self.batch_size or getattr(loader, 'batch_size', None) or 1)
        others = [i for i in spread_indices(len(dataset), size) if i not in drawn]
        data = load_samples(
            dataset, drawn + others[: size - len(drawn)], loader.collate_fn, self.seed
        )
        self._batch = FixedBatch(data, len(drawn))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """The first picture, as late as this because K is set at the start of the epoch."""
        if self._batch is not None and self._drawn_at is None:
            self._draw(runner, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """A picture every ``interval`` steps."""
        if self._batch is not None and self.every_n_train_iters(runner, self.interval):
            self._draw(runner, runner.iter + 1)

    def after_train(self, runner: Runner) -> None:
        """The last picture, and where it is."""
        if self._batch is None:
            return
        if self._drawn_at != runner.iter:
            self._draw(runner, runner.iter)
        print_log(
            f'Prior masks beside the refined objects: {self._folder(runner)}/latest.png',
            logger='current',
        )

    def _draw(self, runner: Runner, step: int) -> None:
        model, fixed = unwrapped_model(runner), self._batch
        n = fixed.num_drawn
        labels = fixed.objects(model)
        labels = rank_by_size(labels) if self._last is None else match_ids(labels, self._last)
        columns = [(f'objects at step {step}', labels[:n])]
        if self._first is None:
            self._first = columns[0]
        elif self.compare_start:
            columns.insert(0, self._first)
        self._last, self._drawn_at = labels, step
        images, *views = fixed.pictures(model.data_preprocessor)
        clusters = model.refiner.num_clusters
        what = 'no clustering' if clusters is None else f'K = {clusters}'
        epochs = runner.max_epochs  # 1 where training counts steps alone
        epoch = f' (epoch {min(runner.epoch + 1, epochs)} of {epochs})' if epochs > 1 else ''
        where = f'step {step}{epoch}, {what}'
        note = (
            f'One colour is one cluster in all images; clustered among {len(labels)} images '
            'by the target network.'
        )
        self._write(
            runner,
            step,
            'objects',
            '',
            objects_panel(images, fixed.priors, columns, f'R2O, {where}', note),
        )
        self._write(
            runner,
            step,
            'views',
            'views',
            views_panel(images, fixed.views, views, labels[:n], f'Views and their masks, {where}'),
        )

    def _write(self, runner: Runner, step: int, name: str, prefix: str, figure) -> None:
        folder = self._folder(runner)
        save_figure(
            figure,
            folder / f'{prefix or "step"}_{step:07d}.png',
            folder / ('_'.join(filter(None, ('latest', prefix))) + '.png'),
        )
        image: np.ndarray = figure_to_rgb(figure)
        runner.visualizer.add_image(name, image, step=step)

    def _folder(self, runner: Runner) -> Path:
        return Path(runner.work_dir) / self.out_dir

    def _forget(self) -> None:
        self._batch: FixedBatch | None = None
        self._first = self._last = self._drawn_at = None
