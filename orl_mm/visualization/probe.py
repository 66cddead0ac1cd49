"""Look at networks without changing them: their inputs, their objects, their attention."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from orl_mm.models.utils import crop_masks, downsample_regions, mask_pool
from orl_mm.models.utils.diagnostics import embedding_spread
from orl_mm.models.utils.stages import forward_stage
from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch
from orl_mm.structures.photometry import split_operations

from .attention import NetworkMaps


@contextmanager
def preserved_rng(seed: int | None = None) -> Iterator[None]:
    """Restore the host's random generators (Python, numpy, torch) afterwards.

    Args:
        seed (int, optional): Seeds all three inside.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    if seed is not None:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


@contextmanager
def evaluating(module: nn.Module, batch_statistics: bool = False) -> Iterator[None]:
    """Evaluation mode, with the mode of every submodule restored afterwards.

    Args:
        module (nn.Module): The network.
        batch_statistics (bool): Let batch norms that were in training mode use the statistics
            of the batch, without updating their running ones, because R2O clusters features
            that were normalized by the batch's statistics (projects/r2o/README.md, row 24).
            An evaluating ``SyncBatchNorm`` without running statistics uses the batch of its own
            process, so one rank of a distributed job can look while the others go on.
    """
    modes = [(m, m.training) for m in module.modules()]
    norms = [m for m, training in modes if isinstance(m, _BatchNorm) and training]
    running = [(m, m.running_mean, m.running_var) for m in norms if batch_statistics]
    try:
        for m, _ in modes:
            m.training = False
        for norm, _, _ in running:
            norm.running_mean = norm.running_var = None
        yield
    finally:
        for norm, mean, var in running:
            norm.running_mean, norm.running_var = mean, var
        for m, training in modes:
            m.training = training


def preprocessor_config(cfg: Config) -> dict:
    """The data preprocessor of a config, which the model may hold or inherit."""
    return dict(cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {})


def to_rgb(inputs: Tensor, preprocessor: Any) -> np.ndarray:
    """Turn network inputs back into pictures: the inverse of the data preprocessor.

    Args:
        inputs (Tensor): (B, 3, H, W), normalized.
        preprocessor: mmengine's ``ImgDataPreprocessor`` or a subclass.

    Returns:
        np.ndarray: (B, H, W, 3) uint8 RGB.
    """
    images = inputs.detach().float()
    if getattr(preprocessor, '_enable_normalize', False):
        images = images * preprocessor.std + preprocessor.mean
    if not getattr(preprocessor, '_channel_conversion', False):
        images = images.flip(1)  # still BGR, as mmcv loads images
    images = images.round().clamp(0, 255).byte()
    return images.permute(0, 2, 3, 1).cpu().numpy()


def labels_in_view(labels: np.ndarray, view: np.ndarray, size: int) -> np.ndarray:
    """The region that covers most of each cell of a view.

    Args:
        labels (np.ndarray): (H, W) ids of the whole image.
        view (np.ndarray): (5,): x1, y1, x2, y2 in [0, 1], flip.
        size (int): Side of the result.

    Returns:
        np.ndarray: (size, size) int64, by :func:`~orl_mm.models.utils.crop_masks`, which also
        makes the masks of the network.
    """
    ids, dense = np.unique(labels, return_inverse=True)
    one_hot = np.eye(len(ids), dtype=np.float32)[dense.reshape(labels.shape)]
    masks = torch.from_numpy(one_hot).permute(2, 0, 1)[None]
    box = torch.as_tensor(view, dtype=torch.float32)[None]
    return ids[crop_masks(masks, box, size)[0].argmax(0).numpy()]


@torch.no_grad()
def find_objects(
    model: Any, x0: Tensor, regions: Tensor | None, num_regions: Sequence[int] | None
) -> np.ndarray:
    """Object ids as a training step on this batch would find them, (B, S, S) int64.

    Args:
        model (nn.Module): Has ``find_objects(x0, regions, num_regions)``, as R2O.
        x0 (Tensor): (B, 3, H, W), normalized, on the model's device.
        regions (Tensor, optional): (B, H, W) superpixels.
        num_regions (sequence, optional): How many of them each image has.
    """
    with evaluating(model, batch_statistics=True):
        return model.find_objects(x0, regions, num_regions).cpu().numpy()


class FixedBatch:
    """A batch to cluster again and again, of which only the first images are drawn.

    K-means shares its clusters, and batch norm its statistics, among all images of a batch, so
    the images to draw must be clustered among as many others as in training.

    Args:
        data (dict): ``inputs``, a list of (B, 3, H, W) uint8: views, then x0; and
            ``data_samples``.
        num_drawn (int, optional): How many of the images are drawn. Default: all.

    Raises:
        ValueError: The data have no whole image beside the views.
    """

    def __init__(self, data: dict, num_drawn: int | None = None) -> None:
        samples, inputs = data['data_samples'], data['inputs']
        inputs, operations = split_operations(inputs)
        if not isinstance(samples, RegionBatch):
            samples = RegionBatch.from_samples(samples)
        self.batch: RegionBatch = samples
        if not isinstance(inputs, (list, tuple)) or len(inputs) != samples.views.shape[1] + 1:
            raise ValueError(
                'the pipeline gives no whole image x0 beside its views; put '
                'orl_mm.GenerateSuperpixels before orl_mm.MultiViewWithGeometry'
            )
        self.x0 = inputs[-1]
        self.num_drawn = len(self.x0) if num_drawn is None else num_drawn
        # Views of the other images are not needed.
        self.view_inputs = [view[: self.num_drawn].clone() for view in inputs[:-1]]
        self.operations = [] if operations is None else [data['inputs'][-1][: self.num_drawn]]

    @property
    def priors(self) -> np.ndarray | None:
        """(num_drawn, H, W) superpixels, or None."""
        labels = self.batch.labels
        return None if labels is None else labels[: self.num_drawn].cpu().numpy().astype(np.int64)

    @property
    def views(self) -> np.ndarray:
        """(num_drawn, V, 5)."""
        return self.batch.views[: self.num_drawn].cpu().numpy()

    def pictures(self, preprocessor: Any) -> list[np.ndarray]:
        """Whole images, then each view, as the network gets them; (num_drawn, H, W, 3) RGB."""
        n = self.num_drawn
        data = dict(
            inputs=[*self.view_inputs, self.x0[:n], *self.operations],
            data_samples=RegionBatch(self.batch.views[:n]),
        )
        *views, whole = preprocessor(data, False)['inputs']
        return [to_rgb(x, preprocessor) for x in (whole, *views)]

    def objects(self, model: Any) -> np.ndarray:
        """Object ids of the whole batch, (B, S, S); see :func:`find_objects`."""
        x0, batch = self._preprocessed(model)
        return find_objects(model, x0, batch.labels, list(batch.counts) or None)

    @torch.no_grad()
    def region_spread(self, model: Any) -> float:
        """The spread of the vectors that K-means clusters.

        0 where all are equal, so that there is nothing to cluster, and 1 where they are
        isotropic; see :func:`~orl_mm.models.utils.diagnostics.embedding_spread`. The vectors
        are those of the superpixels, or without any of the feature cells.
        """
        x0, regions = self._preprocessed(model)
        encoder = model.backbone if model.target is None else model.target['backbone']
        with evaluating(encoder, batch_statistics=True):
            feats = forward_stage(encoder, x0, model.refiner.stage)
        if regions.labels is None:
            points = feats.flatten(2).transpose(1, 2).flatten(0, 1)
        else:
            size = (feats.shape[-2], feats.shape[-1])
            masks = downsample_regions(regions.labels, regions.max_count, size)
            points = mask_pool(feats, masks).flatten(0, 1)[regions.rows]
        return embedding_spread(points)

    def _preprocessed(self, model: Any) -> tuple[Tensor, RegionBatch]:
        data = model.data_preprocessor(dict(inputs=[self.x0], data_samples=self.batch), False)
        return data['inputs'][0], data['data_samples']


def has_attention(model: dict) -> bool:
    """Whether the backbone of a model config is a ViT."""
    backbone = model.get('backbone') or {}
    return 'patch_size' in backbone or 'VisionTransformer' in str(backbone.get('type'))


def build_probe(cfg: Config) -> Any:
    """The :class:`~orl_mm.models.probes.AttentionProbe` of a config, with random weights.

    Args:
        cfg (Config): Of pretraining, whose backbone is taken, or of evaluation.
    """
    model = deepcopy(cfg.model)
    if str(model['type']).split('.')[-1] != 'AttentionProbe':
        model = dict(type='orl_mm.AttentionProbe', backbone=model['backbone'])
    given = preprocessor_config(cfg)
    known = {key: given[key] for key in ('mean', 'std', 'to_rgb') if key in given}
    model['data_preprocessor'] = dict(type='mmpretrain.ClsDataPreprocessor', **known)
    probe = MODELS.build(model)
    probe.init_weights()
    return probe.eval()


@torch.no_grad()
def attention_of(
    probe: Any, packed: Sequence[dict], name: str, heads: dict[int, str] | None = None
) -> NetworkMaps:
    """The attention of a probe over packed images, one image at a time."""
    found = [probe.test_step(pseudo_collate([deepcopy(each)]))[0] for each in packed]
    return NetworkMaps(name, torch.stack([x.attention for x in found]).cpu().numpy(), heads)
