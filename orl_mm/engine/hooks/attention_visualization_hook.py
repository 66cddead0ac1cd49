from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from mmengine.runner import Runner

from orl_mm.models.utils.cls_attention_reader import ClsAttentionReader
from orl_mm.progress import unwrapped_model
from orl_mm.registry import HOOKS
from orl_mm.structures.template_batch import TemplateBatch
from orl_mm.visualization.attention import NetworkMaps, heads_panel
from orl_mm.visualization.probe import evaluating, preserved_rng, to_rgb
from orl_mm.visualization.samples import load_samples, spread_indices

from .attention_reg_hook import AttentionRegHook
from .picture_hook import PictureHook


@HOOKS.register_module()
class AttentionVisualizationHook(PictureHook):
    """Draw the CLS token's attention over a few images while training (thesis, figure 3.4).

    Shown is the first view of each image, drawn once with a fixed seed, with its template if it
    has one, and the attention of every head; the heads of the run's ``AttentionRegHook`` come
    first. See :class:`PictureHook` for when and where. The network is in evaluation mode
    meanwhile, and the run is not affected.

    Args:
        interval, num_images, indices, seed, out_dir: See :class:`PictureHook`.
        network (str): Attribute path of the ViT. ``'auto'``: ``'teacher.backbone'``, which is
            the network that is evaluated, where the model has one; otherwise ``'backbone'``.
        layer (int): Index of the block.

    Raises:
        ValueError: A backbone without CLS attention, at the start of training.
    """

    what = 'Attention over images'

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
        super().__init__(interval, num_images, indices, seed, out_dir)
        self.network, self.layer = network, layer

    def _load(self, runner: Runner) -> dict:
        model, loader = unwrapped_model(runner), runner.train_dataloader
        path = self.network
        if path == 'auto':
            names = {name for name, _ in model.named_modules()}
            path = 'teacher.backbone' if 'teacher.backbone' in names else 'backbone'
        self._path, self._backbone = path, model.get_submodule(path)
        self._reader = ClsAttentionReader(self._backbone, self.layer)
        indices = self.indices or spread_indices(len(loader.dataset), self.num_images)
        return load_samples(loader.dataset, indices, loader.collate_fn, self.seed)

    def _figures(self, runner: Runner, step: int) -> dict[str, tuple[str, Figure]]:
        preprocessor: Any = unwrapped_model(runner).data_preprocessor
        data = preprocessor(self._batch, False)
        inputs, samples = data['inputs'], data['data_samples']
        view = inputs[0] if isinstance(inputs, (list, tuple)) else inputs
        with preserved_rng(), evaluating(self._backbone), torch.no_grad(), self._reader:
            self._backbone(view)
            attn: Any = self._reader.take()
        grid = self._reader.grid(view)
        maps = attn.unflatten(-1, grid).cpu().numpy()
        hooks = [hook for hook in runner.hooks if isinstance(hook, AttentionRegHook)]
        heads: dict[int, str] = hooks[0].heads if hooks else {}
        templates, parts = None, list(heads.values())
        if parts and hasattr(samples[0], 'template'):
            found = TemplateBatch(samples).on_grid(parts, grid)
            templates = found[: len(view)].cpu().numpy()  # those of the first view
        pictures, title = to_rgb(view, preprocessor), f'Attention of {self._path}, step {step}'
        network = NetworkMaps(self._path, maps, heads)
        return dict(attention=('', heads_panel(pictures, templates, network, parts, title)))
