from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from orl_mm.visualization import figure_to_rgb, save_figure


class PictureHook(Hook):
    """Base of hooks that draw a few fixed images at the start, every few steps and at the end.

    Pictures go to ``<work_dir>/<out_dir>/step_0001000.png``, the newest also as ``latest.png``,
    and to the back ends of mmengine's visualizer, such as TensorBoard. Only rank 0 draws,
    without a collective. Subclasses define :meth:`_load` and :meth:`_figures`, which must leave
    model and random generators as they were.

    Args:
        interval (int): Steps between pictures. 0 or less: only at the start and the end.
        num_images (int): How many images are drawn, spread evenly over the data set.
        indices (sequence, optional): Which images instead.
        seed (int): Of the views.
        out_dir (str): Folder in the work directory.

    Raises:
        ValueError: No image to draw.
    """

    # After the target or teacher was updated, and K set.
    priority = 'VERY_LOW'
    what = 'Pictures'

    def __init__(
        self,
        interval: int = 1000,
        num_images: int = 4,
        indices: Sequence[int] | None = None,
        seed: int = 0,
        out_dir: str = 'pictures',
    ) -> None:
        if (num_images if indices is None else len(indices)) < 1:
            raise ValueError(
                f'{type(self).__name__} needs at least one image, got num_images={num_images} '
                f'and indices={indices}; leave indices out for evenly spread images'
            )
        self.interval, self.num_images, self.indices = interval, num_images, indices
        self.seed, self.out_dir = seed, out_dir
        self._batch: Any = None
        self._drawn_at: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Load the images."""
        self._drawn_at = None
        self._batch = self._load(runner) if is_main_process() else None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Draw the first picture, after K and the like are set at the start of the epoch."""
        if self._drawn_at is None:
            self._draw(runner, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Draw every ``interval`` steps."""
        if self.every_n_train_iters(runner, self.interval):
            self._draw(runner, runner.iter + 1)

    def after_train(self, runner: Runner) -> None:
        """Draw the last picture and log where it is."""
        if self._batch is not None:
            self._draw(runner, runner.iter)
            print_log(f'{self.what}: {self._folder(runner)}/latest.png', logger='current')

    def _load(self, runner: Runner) -> Any:
        """The images to draw, in any form but None."""
        raise NotImplementedError

    def _figures(self, runner: Runner, step: int) -> dict[str, tuple[str, Figure]]:
        """Tag of the visualizer -> prefix of the file's name ('' for ``step``), and figure."""
        raise NotImplementedError

    def _draw(self, runner: Runner, step: int) -> None:
        if self._batch is None or self._drawn_at == step:
            return
        self._drawn_at = step
        folder = self._folder(runner)
        for tag, (prefix, figure) in self._figures(runner, step).items():
            latest = f'latest_{prefix}' if prefix else 'latest'
            save_figure(
                figure, folder / f'{prefix or "step"}_{step:07d}.png', folder / f'{latest}.png'
            )
            runner.visualizer.add_image(tag, figure_to_rgb(figure), step=step)

    def _folder(self, runner: Runner) -> Path:
        return Path(runner.work_dir) / self.out_dir
