"""Where a tool takes its pictures from: the config's training data, or files named by hand."""

import os
import tempfile
from collections.abc import Sequence
from copy import deepcopy

from mmengine.config import Config, ConfigDict

from orl_mm.io.image_list import XRAY_EXTENSIONS, find_images
from orl_mm.registry import DATASETS

from .whole_image import short_name


def image_paths(images: Sequence[str]) -> list[str]:
    """Files, and all images below folders, in the order given.

    Raises:
        ValueError: A path that does not exist, or no image at all.
    """
    paths = []
    for path in images:
        if os.path.isdir(path):
            paths += find_images(path, XRAY_EXTENSIONS)
        elif os.path.isfile(path):
            paths.append(path)
        else:
            raise ValueError(f'{path!r} does not exist')
    if not paths:
        raise ValueError(f'no image in {", ".join(images)}')
    return [os.path.abspath(path) for path in paths]


def training_dataset_config(cfg: Config) -> ConfigDict:
    """The innermost data set of the training loader, through wrappers such as repeat."""
    return innermost(cfg.train_dataloader['dataset'])


def innermost(dataset: ConfigDict) -> ConfigDict:
    """The data set that has the pipeline, within wrappers such as repeat."""
    while 'pipeline' not in dataset and 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset


def build_dataset(cfg: Config, images: Sequence[str] | None = None):
    """The training data of a config, or other images through its training pipeline.

    Images named by hand are no part of the config's superpixel cache, so their
    superpixels are computed.

    Args:
        cfg (Config): With ``train_dataloader``.
        images (sequence, optional): Files and folders.

    Raises:
        ValueError: See :func:`image_paths`.
    """
    if not images:
        return DATASETS.build(deepcopy(cfg.train_dataloader['dataset']))
    paths = image_paths(images)
    pipeline = deepcopy(training_dataset_config(cfg)['pipeline'])
    for transform in pipeline:
        if short_name(transform) == 'GenerateSuperpixels':
            transform.pop('cache', None)
    with tempfile.NamedTemporaryFile('w', suffix='.txt', encoding='utf-8') as file:
        file.write('\n'.join(paths))
        file.flush()
        return DATASETS.build(
            dict(type='orl_mm.ImageList', list_file=file.name, pipeline=pipeline, lazy_init=False)
        )
