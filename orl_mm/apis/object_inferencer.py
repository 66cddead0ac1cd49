import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import nn

from orl_mm.engine.object_finder import build_finder, load_features
from orl_mm.models.utils import downsample_regions, fit_kmeans, mask_pool
from orl_mm.models.utils.stages import forward_stage
from orl_mm.registry import TRANSFORMS
from orl_mm.structures import RegionBatch
from orl_mm.visualization.draw import blend_labels, resize_labels
from orl_mm.visualization.samples import short_name, training_dataset_config

from .base import (
    ImageInferencer,
    Picture,
    Pictures,
    load_picture,
    save_pictures,
    to_tensor,
    warn_of_random_weights,
)


class ObjectInferencer(ImageInferencer):
    """Objects of images, as R2O finds them: superpixels whose features fall into one cluster.

    The prior is that of the config's ``GenerateSuperpixels``, computed for each image (SLIC in
    place of masks from files). Features are
    normalized by the running statistics, so an image's features do not depend on the others;
    training clusters features that were normalized by the statistics of the mini-batch.

    Args:
        config_or_name, checkpoint, device, show_progress: See :class:`ImageInferencer`. A config
            of ``orl_mm.R2O``; the checkpoint may be of any method with the same backbone. The
            target network clusters if the checkpoint has one.

    Raises:
        UserError: A config that finds no objects.

    Examples:
        >>> from orl_mm.apis import ObjectInferencer
        >>> find = ObjectInferencer('orl_mm::r2o/demo.py', 'work_dirs/demo/iter_100.pth')
        >>> objects = find(['cat.jpg', 'dog.jpg'], k=16)
        >>> objects[0]['labels'].shape, objects[0]['num_objects']
    """

    def __call__(  # type: ignore[override]
        self,
        inputs: Pictures,
        k: int = 16,
        per_image: bool = False,
        batch_size: int = 8,
        seed: int = 0,
        out_dir: str | None = None,
    ) -> list[dict]:
        """Find objects.

        Args:
            inputs: Paths, folders, URLs, PIL images, arrays (H, W, 3) uint8 **BGR**, or a list of
                them.
            k (int): Clusters over all images of this call together.
            per_image (bool): Cluster each image alone, into up to ``k`` objects.
            batch_size (int): Images that the network sees at a time; it changes no result.
            seed (int): Of K-means.
            out_dir (str, optional): Folder for the pictures.

        Returns:
            list: For each image a dict of ``labels`` (H, W) int64, where equal ids are one
            cluster in all images (with ``per_image`` in this image only), ``num_objects`` (int),
            and ``visualization`` (H, W, 3) uint8 RGB.

        Raises:
            ValueError: ``k`` below 1, or an image that cannot be read.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f'k must be an integer of at least 1, got {k!r}')
        images = self._inputs_to_list(inputs)
        found = self._all_predictions(images, batch_size)
        groups = [[item] for item in found] if per_image else [found]
        for group in groups:
            self._cluster(group, k, seed)
        pictures = self.visualize(images, found, out_dir=out_dir)
        return self.postprocess(found, pictures)

    def _init_model(self, cfg: Config, weights: str | None, device: str = 'cpu') -> nn.Module:
        model: Any = build_finder(cfg)
        if weights is None:
            warn_of_random_weights(model)
        else:
            load_features(model, weights)
        return model.to(device).eval()

    def _init_pipeline(self, cfg: Config) -> Callable[[Picture], dict]:
        loader, prior = self._loader(cfg), _prior(cfg)
        return lambda image: prior.transform(dict(img=load_picture(image, loader)))

    @torch.no_grad()
    def forward(self, inputs: list[dict], **kwargs: Any) -> list[dict]:
        """The pipeline's results of a batch, with ``points``: (M, C) unit vectors to cluster."""
        model: Any = self.model
        data = dict(
            inputs=[torch.stack([to_tensor(item['x0']) for item in inputs])],
            data_samples=RegionBatch(torch.zeros(len(inputs), 2, 5)),
        )
        x0 = model.data_preprocessor(data, False)['inputs'][0]
        feats = forward_stage(model.target_part('backbone'), x0, model.refiner.stage).float()
        for item, feat in zip(inputs, feats, strict=True):
            if 'regions' in item:
                size = (feat.shape[1], feat.shape[2])
                regions = item['regions'][None].to(feat.device)
                masks = downsample_regions(regions, item['num_regions'], size)
                points = mask_pool(feat[None], masks, model.refiner.min_area)[0]
            else:  # without a prior, the cells of the features themselves
                points, item['grid'] = feat.flatten(1).t(), tuple(feat.shape[1:])
            item['points'] = F.normalize(points, dim=1)
        return inputs

    def _cluster(self, items: list[dict], k: int, seed: int) -> None:
        """Add ``labels`` (H, W) to each image, by clustering all of them together."""
        points = torch.cat([item.pop('points') for item in items])
        generator = torch.Generator(points.device).manual_seed(seed)
        fit_args = self.model.refiner.fit_args
        clusters = fit_kmeans(points, k, generator, **fit_args).labels.cpu().numpy()
        start = 0
        for item in items:
            if 'regions' in item:
                stop = start + item['num_regions']
                small = clusters[start:stop][item['regions'].numpy()]
            else:
                stop = start + math.prod(item['grid'])
                small = clusters[start:stop].reshape(item['grid'])
            item['labels'], start = resize_labels(small, *item['img'].shape[:2]), stop

    def visualize(
        self, inputs: list, preds: list[dict], out_dir: str | None = None, **kwargs: Any
    ) -> list[np.ndarray]:
        """Each image with its objects in color, (H, W, 3) uint8 RGB; also written to a folder."""
        pictures = [blend_labels(item['img'][..., ::-1], item['labels']) for item in preds]
        save_pictures(pictures, inputs, out_dir)
        return pictures

    def postprocess(
        self, preds: list[dict], visualization: list[np.ndarray], **kwargs: Any
    ) -> list[dict]:
        """See :meth:`__call__`."""
        return [
            dict(
                labels=item['labels'],
                num_objects=len(np.unique(item['labels'])),
                visualization=picture,
            )
            for item, picture in zip(preds, visualization, strict=True)
        ]


def _prior(cfg: Config) -> Any:
    """The config's ``GenerateSuperpixels`` that computes instead of reading a cache or masks."""
    steps: Sequence = ()
    if cfg.get('train_dataloader') is not None:
        steps = training_dataset_config(cfg).get('pipeline', ())
    found = [step for step in steps if short_name(step) == 'GenerateSuperpixels']
    step = dict(found[0]) if found else dict(type='orl_mm.GenerateSuperpixels')
    for key in ('cache', 'check', 'root', 'folder', 'keep_image'):
        step.pop(key, None)
    if step.get('method') == 'files':
        step['method'] = 'slic'
    return TRANSFORMS.build(step)
