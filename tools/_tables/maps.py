"""Rows without a network: a template itself as the map, and the truth itself on the patch grid."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from orl_mm.engine.cli import UserError
from orl_mm.evaluation import AttentionAP
from orl_mm.evaluation.attention_scores import on_grid
from orl_mm.map_cache.entry import CacheError
from orl_mm.registration.cache import TemplateCache
from orl_mm.registration.template import read_template
from orl_mm.registry import DATASETS

# A sample to (parts, maps (R, h, w) in [0, 1]).
MapsOf = Callable[[dict], tuple[tuple[str, ...], np.ndarray]]


def truth(sample: dict) -> tuple[tuple[str, ...], np.ndarray]:
    """The masks themselves: on the grid, the ceiling of what its patches can say."""
    return sample['parts'], sample['part_masks'].numpy()


def template_maps(paths: list[str]) -> MapsOf:
    """What a template says of each image.

    Args:
        paths (list): One ``.json`` or ``.npz`` file, or folders of registered templates, of
            which the first that has an image counts.

    Raises:
        UserError: No such template. Of the function: an image in none of the folders.
    """
    try:
        folders = [TemplateCache(path, check='size') for path in paths if os.path.isdir(path)]
        files = [read_template(path) for path in paths if not os.path.isdir(path)]
    except (OSError, ValueError, CacheError) as error:
        raise UserError(f'--template {paths}: {" ".join(str(error).split())}') from error
    if len(files) > 1 or files and folders:
        raise UserError(f'--template {paths}: one file, or folders of registered templates')
    if files:  # as it is stored: an average stays soft
        return lambda sample: (files[0].parts, files[0].maps)

    def registered(sample: dict) -> tuple[tuple[str, ...], np.ndarray]:
        errors = []
        for cache in folders:
            try:
                return cache.parts, cache.read(sample['img_path'])
            except (CacheError, ValueError) as error:
                errors.append(' '.join(str(error).split()))
        raise UserError(errors[0])

    return registered


def score_maps(cfg: Config, maps_of: MapsOf, grid: tuple[int, int]) -> dict[str, Any]:
    """Maps instead of attention, averaged over each patch, by the same metric.

    Args:
        cfg (Config): Its test data are used, its network is not.
        maps_of (callable): See :data:`MapsOf`.
        grid (tuple): (h, w), the patches of the networks in the table.

    Returns:
        dict: As of :func:`.evaluate.evaluate`; no part that the maps lack.
    """
    data = dict(cfg.test_dataloader.dataset, pipeline=[dict(type='orl_mm.LoadParts')])
    dataset = DATASETS.build(data)
    samples, named, last, cells = [], [], None, None
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
        details=metric.details,
        patients=metric.patients,
    )


def own_template(config: Config | None) -> str | None:
    """The template that guided a run, by its config; None where there is none at hand."""
    try:
        steps = config.train_dataloader.dataset.pipeline
    except AttributeError:
        return None
    for step in steps:
        if step.get('type') == 'orl_mm.RegisteredTemplate' and not os.path.isdir(step['source']):
            try:
                read_template(step['source'])
                return step['source']
            except (OSError, ValueError):
                return None
    return None
