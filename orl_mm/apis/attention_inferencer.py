from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import load_state_dict
from torch import nn
from torch.nn.modules.utils import _pair

from orl_mm.registry import TRANSFORMS
from orl_mm.visualization.attention import NetworkMaps, heads_panel
from orl_mm.visualization.probe import build_probe
from orl_mm.visualization.sheet import figure_to_rgb
from orl_mm.weights import checkpoints_must_fit, load_weights

from .base import (
    ImageInferencer,
    Picture,
    Pictures,
    load_picture,
    save_pictures,
    to_tensor,
    warn_of_random_weights,
)


class AttentionInferencer(ImageInferencer):
    """The CLS token's attention over images, for each head of a ViT or each part of a MeDINO.

    Args:
        config_or_name, checkpoint, device, show_progress: See :class:`ImageInferencer`. A config
            with a ViT; of DINO's checkpoints the teacher is taken.

    Raises:
        ValueError: A backbone without CLS attention, or a checkpoint that does not fit.

    Examples:
        >>> from orl_mm.apis import AttentionInferencer
        >>> attend = AttentionInferencer('medino/demo', 'work_dirs/demo_medino/epoch_20.pth')
        >>> maps = attend('chest.png')[0]['maps']
        >>> maps['heart'].shape
    """

    heads: dict[int, str]
    """Head -> part, as stored in the checkpoint; empty for unguided networks."""

    def __call__(  # type: ignore[override]
        self, inputs: Pictures, batch_size: int = 8, out_dir: str | None = None
    ) -> list[dict]:
        """Attention of images.

        Args:
            inputs: Paths, folders, URLs, PIL images, arrays (H, W, 3) uint8 **BGR**, or a list of
                them. They are squashed to the network's ``img_size``.
            batch_size (int): Images that the network sees at a time.
            out_dir (str, optional): Folder for the pictures.

        Returns:
            list: For each image a dict of ``maps``, where a part's name, or the number of a head
            without a part, has its (h, w) float32 map over the patches, not renormalized (a map
            sums to one minus what CLS gives to itself); and ``visualization`` (H', W', 3) uint8
            RGB.

        Raises:
            ValueError: An image that cannot be read.
        """
        images = self._inputs_to_list(inputs)
        found = self._all_predictions(images, batch_size)
        pictures = self.visualize(images, found, out_dir=out_dir)
        return self.postprocess(found, pictures)

    def _init_model(self, cfg: Config, weights: str | None, device: str = 'cpu') -> nn.Module:
        probe: Any = build_probe(cfg)
        self.heads = {}
        if weights is None:
            warn_of_random_weights(probe.backbone)
        else:
            loaded = load_weights(weights)
            with checkpoints_must_fit(whole=True):
                load_state_dict(probe, loaded.get('state_dict', loaded))
            self.heads = loaded.get('meta', {}).get('attention_heads') or {}
        return probe.to(device).eval()

    def _init_pipeline(self, cfg: Config) -> Callable[[Picture], dict]:
        loader = self._loader(cfg)
        side = _pair(cfg.model['backbone'].get('img_size', 224))
        resize = TRANSFORMS.build(
            dict(
                type='mmpretrain.Resize',
                scale=side[::-1],
                interpolation='bicubic',
                backend='pillow',
            )
        )

        def pipeline(image: Picture) -> dict:
            img = load_picture(image, loader)
            return dict(img=img, input=resize(dict(img=img))['img'])

        return pipeline

    @torch.no_grad()
    def forward(self, inputs: list[dict], **kwargs: Any) -> list[dict]:
        """The pipeline's results of a batch, with ``attention``: (heads, h, w)."""
        probe: Any = self.model
        data = dict(inputs=[to_tensor(item['input']) for item in inputs])
        maps = probe(probe.data_preprocessor(data, False)['inputs']).float().cpu().numpy()
        for item, attention in zip(inputs, maps, strict=True):
            item['attention'] = attention
        return inputs

    def visualize(
        self, inputs: list, preds: list[dict], out_dir: str | None = None, **kwargs: Any
    ) -> list[np.ndarray]:
        """Each image with the attention of every head, uint8 RGB; also written to a folder."""
        pictures = []
        for item in preds:
            network = NetworkMaps('', item['attention'][None], self.heads)
            figure = heads_panel([item['img'][..., ::-1]], None, network)
            pictures.append(figure_to_rgb(figure))
        save_pictures(pictures, inputs, out_dir)
        return pictures

    def postprocess(
        self, preds: list[dict], visualization: list[np.ndarray], **kwargs: Any
    ) -> list[dict]:
        """See :meth:`__call__`."""
        return [
            dict(
                maps={self.heads.get(h, h): heat for h, heat in enumerate(item['attention'])},
                visualization=picture,
            )
            for item, picture in zip(preds, visualization, strict=True)
        ]
