"""Whole images with their masks or templates, and what a pretrained ViT attends to in them."""

import os.path as osp
from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.runner import load_checkpoint
from torch import nn
from torch.nn.modules.utils import _pair

from orl_mm.registry import DATASETS, MODELS

from .attention_report import NetworkMaps
from .fixed_batch import spread_indices
from .image_source import image_paths, innermost
from .whole_image import keep_whole, short_name


class AttentionSample(NamedTuple):
    """One image to look at.

    Attributes:
        name (str): The file's stem.
        image (np.ndarray): (H, W, 3) uint8 RGB.
        masks (dict): Part -> (h, w) uint8 0/1, of the whole image: the truth, or a template.
        packed (dict): ``inputs`` (3, S, S) uint8 and ``data_samples``, for the probe.
    """

    name: str
    image: np.ndarray
    masks: dict[str, np.ndarray]
    packed: dict


def has_attention(model: dict) -> bool:
    """Whether a model's config has a ViT as ``backbone``."""
    backbone = model.get('backbone') or {}
    return 'patch_size' in backbone or 'VisionTransformer' in str(backbone.get('type'))


def build_probe(cfg: Config) -> nn.Module:
    """The :class:`~orl_mm.models.probes.AttentionProbe` of a config of pretraining or evaluation.

    Its weights are random until :func:`take_checkpoint`.
    """
    model = deepcopy(cfg.model)
    preprocessor = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    if short_name(model) != 'AttentionProbe':
        model = dict(type='orl_mm.AttentionProbe', backbone=model['backbone'])
    known = {key: preprocessor[key] for key in ('mean', 'std', 'to_rgb') if key in preprocessor}
    model['data_preprocessor'] = dict(type='mmpretrain.ClsDataPreprocessor', **known)
    probe = MODELS.build(model)
    probe.init_weights()
    return probe.eval()


def take_checkpoint(probe: nn.Module, path: str) -> dict[int, str] | None:
    """Fill a probe from a checkpoint of pretraining; its head map, None where it guided none."""
    return (
        load_checkpoint(probe, path, map_location='cpu', logger='silent')
        .get('meta', {})
        .get('attention_heads')
    )


def load_attention_samples(
    cfg: Config, images: Sequence[str] | None = None, num: int = 4, size: int | None = None
) -> list[AttentionSample]:
    """Images of a config, evenly spread, or named by hand.

    A config with ``LoadParts`` in its test data (one of evaluation) gives those, with the true
    masks. Otherwise the images are those of the training data, and its ``RegisteredTemplate``,
    if there is one, says where the parts are (0.5 or more).

    Args:
        cfg (Config): Of pretraining or evaluation.
        images (sequence, optional): Files and folders instead; masks are not looked for.
        num (int): How many.
        size (int, optional): Side in pixels that images are squashed to. Default: the
            backbone's ``img_size``.

    Raises:
        ValueError: No image, one that cannot be read, or no data in the config.
    """
    data = _data_config(cfg)
    steps = {short_name(step): step for step in data['pipeline']}
    load = next(
        (
            step
            for name, step in steps.items()
            if name in ('LoadXray', 'LoadImage', 'LoadImageFromFile')
        ),
        dict(type='orl_mm.LoadXray'),
    )
    before = [load] + [steps[name] for name in ('RegisteredTemplate',) if name in steps]
    if images:
        chosen = [dict(img_path=path) for path in image_paths(images)]
        chosen = [chosen[i] for i in spread_indices(len(chosen), num)]
    else:
        dataset = DATASETS.build(dict(deepcopy(data), pipeline=[]))
        chosen = [dataset.get_data_info(i) for i in spread_indices(len(dataset), num)]
        if 'LoadParts' in steps:
            before.append(steps['LoadParts'])
    resize = dict(type='Resize', interpolation='bicubic', backend='pillow')
    if 'LoadParts' in steps:  # an evaluation's own, so that scores are the same
        resize.update(steps.get('Resize', {}))
    side = _pair(size or cfg.model['backbone'].get('img_size', 224))
    pipeline = Compose(
        [
            *before,
            keep_whole,
            dict(resize, scale=side[::-1]),
            dict(
                type='mmpretrain.PackInputs',
                algorithm_keys=('whole_image', 'whole_template', 'part_masks'),
                meta_keys=('img_path', 'parts'),
            ),
        ]
    )
    return [_sample(pipeline, info) for info in chosen]


def attention_of(
    probe: nn.Module,
    samples: Sequence[AttentionSample],
    name: str,
    heads: dict[int, str] | None = None,
) -> NetworkMaps:
    """What a probe attends to, an image at a time."""
    with torch.no_grad():
        maps = [
            probe.test_step(pseudo_collate([deepcopy(sample.packed)]))[0].attention
            for sample in samples
        ]
    return NetworkMaps(name, torch.stack(maps).cpu().numpy(), heads)


def parts_and_masks(samples: Sequence[AttentionSample]) -> tuple[list[str], list[np.ndarray]]:
    """All parts of all images, and of each image (R, h, w), 0 for a part that it lacks."""
    parts = list(dict.fromkeys(part for sample in samples for part in sample.masks))
    masks = []
    for sample in samples:
        blank = np.zeros(next((m.shape for m in sample.masks.values()), (1, 1)), np.uint8)
        masks.append(
            np.stack([sample.masks.get(part, blank) for part in parts])
            if parts
            else blank[None][:0]
        )
    return parts, masks


def _data_config(cfg: Config) -> dict:
    for loader in ('test_dataloader', 'train_dataloader'):
        if cfg.get(loader) is None:
            continue
        data = innermost(cfg[loader]['dataset'])
        names = [short_name(step) for step in data.get('pipeline', ())]
        if loader == 'train_dataloader' or 'LoadParts' in names:
            return data
    raise ValueError(f'{cfg.filename} has neither test data with LoadParts nor training data')


def _sample(pipeline: Compose, info: dict) -> AttentionSample:
    path = info['img_path']
    packed = pipeline(dict(info))
    if packed is None:
        raise ValueError(f'{path} cannot be read')
    found = packed['data_samples']
    masks = found.get('part_masks')
    if masks is None and 'whole_template' in found:
        masks = found.whole_template >= 0.5
    masks = (
        {}
        if masks is None
        else dict(zip(found.parts, np.asarray(masks).astype(np.uint8), strict=False))
    )
    return AttentionSample(osp.splitext(osp.basename(path))[0], found.whole_image, masks, packed)
