"""Pictures of what the heads look at, while training."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from orl_mm.engine.progress import unwrapped_model
from orl_mm.models.utils.cls_attention_reader import ClsAttentionReader
from orl_mm.registry import HOOKS
from orl_mm.structures.template_batch import TemplateBatch
from orl_mm.visualization.attention import AttentionColumn, attention_panel
from orl_mm.visualization.fixed_batch import load_samples, spread_indices
from orl_mm.visualization.probe import preserved_rng, to_rgb
from orl_mm.visualization.sheet import figure_to_rgb, save_figure

from .attention_reg_hook import AttentionRegHook


@HOOKS.register_module()
class AttentionVisualizationHook(Hook):
    """Draw the CLS token's attention over a few images, head by head.

    The thesis's figure 3.4, at the start, every ``interval`` steps and at the end, to
    ``<work_dir>/attention/step_0001000.png`` (the newest also as ``latest.png``) and to the
    back ends of mmengine's visualizer, such as TensorBoard. The first view of each image is
    shown, under a fixed seed: always the same view, with its template where it has one.

    The head map is that of the run's ``AttentionRegHook``; other heads follow. Only rank 0
    draws, in evaluation mode; generators and modes are put back.

    Args:
        interval (int): Steps between pictures. 0 or less: only start and end.
        num_images (int): How many images, evenly spread over the data set.
        indices (sequence, optional): Which images instead.
        network (str): Attribute path of the ViT. ``'auto'``: the teacher's, which is the one
            that is evaluated, where the model has one; otherwise ``'backbone'``.
        layer (int): The block.
        seed (int): For the views.
        out_dir (str): Folder in the work directory.

    Raises:
        ValueError: No image to draw; a backbone without CLS attention, at the start.
    """

    # After the teacher was updated.
    priority = 'VERY_LOW'

    def __init__(
        self,
        interval: int = 1000,
        num_images: int = 4,
        indices: Sequence[int] | None = None,
        network: str = 'auto',
        layer: int = -1,
        seed: int = 0,
        out_dir: str = 'attention',
    ) -> None:
        if (num_images if indices is None else len(indices)) < 1:
            raise ValueError(
                'AttentionVisualizationHook needs at least one image: raise '
                f'num_images (now {num_images}) or name some indices'
            )
        self.interval, self.num_images, self.indices = interval, num_images, indices
        self.network, self.layer, self.seed, self.out_dir = network, layer, seed, out_dir
        self._data: dict | None = None

    def before_train(self, runner: Runner) -> None:
        """Load the images and draw the first picture."""
        self._data = None
        if not is_main_process():
            return
        model = unwrapped_model(runner)
        path = self.network
        if path == 'auto':
            names = {name for name, _ in model.named_modules()}
            path = 'teacher.backbone' if 'teacher.backbone' in names else 'backbone'
        self._path, self._backbone = path, model.get_submodule(path)
        self._reader = ClsAttentionReader(self._backbone, self.layer)
        loader = runner.train_dataloader
        indices = self.indices or spread_indices(len(loader.dataset), self.num_images)
        self._data = load_samples(loader.dataset, indices, loader.collate_fn, self.seed)
        self._draw(runner, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """A picture every ``interval`` steps."""
        if self._data is not None and self.every_n_train_iters(runner, self.interval):
            self._draw(runner, runner.iter + 1)

    def after_train(self, runner: Runner) -> None:
        """The last picture, and where it is."""
        if self._data is None:
            return
        if self._drawn_at != runner.iter:
            self._draw(runner, runner.iter)
        print_log(f'Attention over images: {self._folder(runner)}/latest.png', logger='current')

    def _draw(self, runner: Runner, step: int) -> None:
        model = unwrapped_model(runner)
        data = model.data_preprocessor(self._data, False)
        inputs = data['inputs']
        view = inputs[0] if isinstance(inputs, (list, tuple)) else inputs
        with preserved_rng(), _evaluating(self._backbone), torch.no_grad(), self._reader:
            self._backbone(view)
            attn = self._reader.take()
        grid = self._reader.grid(view)
        maps = attn.unflatten(-1, grid).cpu().numpy()
        heads, templates, parts = _head_map(runner), None, []
        if heads and hasattr(data['data_samples'][0], 'template'):
            parts = list(heads.values())
            found = TemplateBatch(data['data_samples']).on_grid(parts, grid)
            templates = found[: len(view)].cpu().numpy()  # those of the first view
        order = [*heads, *(h for h in range(self._reader.num_heads) if h not in heads)]
        columns = [
            AttentionColumn(
                f'head {h}' + (f': {heads[h]}' if h in heads else ''),
                maps[:, h],
                list(heads).index(h) if h in heads else None,
            )
            for h in order
        ]
        figure = attention_panel(
            to_rgb(view, model.data_preprocessor),
            templates,
            columns,
            f'Attention of {self._path}, step {step}',
            parts=parts,
        )
        folder = self._folder(runner)
        save_figure(figure, folder / f'step_{step:07d}.png', folder / 'latest.png')
        runner.visualizer.add_image('attention', figure_to_rgb(figure), step=step)
        self._drawn_at = step

    def _folder(self, runner: Runner) -> Path:
        return Path(runner.work_dir) / self.out_dir


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, every module's own mode afterwards."""
    modes = [(m, m.training) for m in module.modules()]
    try:
        for m, _ in modes:
            m.training = False
        yield
    finally:
        for m, mode in modes:
            m.training = mode


def _head_map(runner: Runner) -> dict[int, str]:
    for hook in runner.hooks:
        if isinstance(hook, AttentionRegHook):
            return hook.heads
    return {}
