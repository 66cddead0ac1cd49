"""Rows of table 3.1 without a network: a template as the attention map, the truth on the grid."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from orl_mm.evaluation.attention_ap import AttentionAP
from orl_mm.evaluation.attention_scores import on_grid
from orl_mm.map_cache.entry import CacheError
from orl_mm.registration.cache import TemplateCache
from orl_mm.registration.template import read_template
from orl_mm.registry import DATASETS

# A sample to (parts, maps (R, h, w) in [0, 1]).
MapsOf = Callable[[dict], tuple[tuple[str, ...], np.ndarray]]


def truth(sample: dict) -> tuple[tuple[str, ...], np.ndarray]:
    """The masks themselves: averaged over the patches, the best that a map on the grid can do."""
    return sample['parts'], sample['part_masks'].numpy()


def template_maps(paths: list[str]) -> MapsOf:
    """The maps of a template for each image.

    Args:
        paths (list): One ``.json`` or ``.npz`` file, or folders of registered templates; the
            first folder that has an image is used.

    Raises:
        ValueError: No such template. Raised by the returned function: an image that no folder
            has a template of.
    """
    try:
        folders = [TemplateCache(path, check='size') for path in paths if os.path.isdir(path)]
        files = [read_template(path) for path in paths if not os.path.isdir(path)]
    except (OSError, ValueError, CacheError) as error:
        raise ValueError(f'--template {paths}: {" ".join(str(error).split())}') from error
    if len(files) > 1 or files and folders:
        raise ValueError(f'--template {paths}: one file, or folders of registered templates')
    if files:  # as it is stored: an average stays soft
        return lambda sample: (files[0].parts, files[0].maps)

    def registered(sample: dict) -> tuple[tuple[str, ...], np.ndarray]:
        errors = []
        for cache in folders:
            try:
                return cache.parts, cache.read(sample['img_path'])
            except (CacheError, ValueError) as error:
                errors.append(' '.join(str(error).split()))
        raise ValueError(errors[0])

    return registered


def score_maps(cfg: Config, maps_of: MapsOf, grid: tuple[int, int]) -> dict[str, Any]:
    """Score maps like attention: averaged over each patch, with ``AttentionAP``.

    Args:
        cfg (Config): Only its test data and the options of its metric are used.
        maps_of (callable): See :data:`MapsOf`.
        grid (tuple): (h, w), the patches of the networks in the table.

    Returns:
        dict: ``metrics`` and ``images`` as in the ``test`` section of a ``result.json``; only
        parts that the maps have.
    """
    data = dict(cfg.test_dataloader.dataset, pipeline=[dict(type='orl_mm.LoadParts')])
    dataset = DATASETS.build(data)
    samples: list[dict[str, Any]] = []
    named: list[str] = []
    last, cells = None, np.empty(0)
    for sample in dataset:
        parts, maps = maps_of(sample)
        if maps is not last:  # a template file is the same for every image
            last, cells = maps, on_grid(maps, grid)
        named = [part for part in dataset.metainfo['parts'] if part in parts]
        attention = np.stack([cells[parts.index(part)] for part in named])
        shown = [part for part in sample['parts'] if part in named]
        rows = [sample['parts'].index(part) for part in shown]
        samples.append(
            dict(
                sample,
                attention=torch.from_numpy(attention),
                parts=tuple(shown),
                part_masks=sample['part_masks'][rows],
            )
        )
    options = {
        key: value
        for key, value in cfg.test_evaluator.items()
        if key in ('resamples', 'level', 'seed')
    }
    metric = AttentionAP(heads=dict(enumerate(named)), prefix='maps', **options)
    metric.process(None, samples)
    metrics = metric.evaluate(len(samples))
    return dict(
        metrics={key.removeprefix('maps/'): value for key, value in metrics.items()},
        images=dict(count=len(samples), ap=metric.details, patients=metric.patients),
    )
