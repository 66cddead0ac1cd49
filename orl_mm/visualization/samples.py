"""Turn a config into images: what its training is shown, and whole images with their parts."""

import os
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import NamedTuple

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, default_collate
from mmengine.registry import FUNCTIONS
from PIL import Image, ImageOps
from torch.nn.modules.utils import _pair

from orl_mm.io.image_list import XRAY_EXTENSIONS, find_images
from orl_mm.registry import DATASETS

from .probe import preserved_rng

LARGEST = 1024  # longer side in pixels of the whole images that are kept for drawing
_IMAGE_LOADERS = ('LoadImage', 'LoadXray', 'LoadImageFromFile')
_WHOLE_KEYS = ('whole_image', 'whole_template', 'views', 'motions')


def short_name(part: dict | Callable) -> str:
    """The type of a config entry without its scope, or the name of a function or object."""
    if isinstance(part, dict):
        return str(part['type']).split('.')[-1]
    return getattr(part, '__name__', type(part).__name__)


def image_paths(images: Sequence[str]) -> list[str]:
    """Absolute paths of files, and of all images below folders, in the order given.

    Raises:
        ValueError: A path that does not exist, or no image at all.
    """
    paths: list[str] = []
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


def innermost(dataset: ConfigDict) -> ConfigDict:
    """The data set config that has the pipeline, inside wrappers such as ``RepeatDataset``."""
    while 'pipeline' not in dataset and 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset


def training_dataset_config(cfg: Config) -> ConfigDict:
    """The :func:`innermost` data set config of the training data loader."""
    return innermost(cfg.train_dataloader['dataset'])


def build_dataset(cfg: Config, images: Sequence[str] | None = None):
    """The training data set of a config, or other images through its training pipeline.

    Superpixels of other images are computed, as they are not in the config's cache.

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


def spread_indices(length: int, num: int) -> list[int]:
    """``num`` indices spread evenly over ``length``, from 0; all if there are fewer."""
    return sorted({i * length // num for i in range(num)})


def load_samples(dataset, indices: Sequence[int], collate: Callable, seed: int = 0) -> dict:
    """Some samples of a data set as one batch, the same ones on every call.

    The random generators are seeded for each sample and restored afterwards, so that views are
    reproducible and a running training is not affected.

    Args:
        dataset: Anything with ``len`` and ``[]``.
        indices (sequence): Which samples.
        collate (callable): Makes them a batch.
        seed (int): Of the random transforms.

    Raises:
        ValueError: An index outside the data set.
    """
    wrong = [i for i in indices if not 0 <= i < len(dataset)]
    if wrong:
        raise ValueError(
            f'indices {wrong} lie outside the data set of {len(dataset)} images '
            f'(0..{len(dataset) - 1})'
        )
    samples = []
    for index in indices:
        with preserved_rng(seed + index):
            samples.append(dataset[index])
    return collate(samples)


def training_batch(
    cfg: Config, images: Sequence[str] | None = None, num: int = 8, seed: int = 0
) -> dict:
    """A batch as the training loop of a config would get it, before the data preprocessor.

    Args:
        cfg (Config): With ``train_dataloader``.
        images (sequence, optional): Files and folders instead of the training data.
        num (int): Images, spread evenly over the data.
        seed (int): Of the random transforms; for a pipeline with ``SeedSample`` the epoch.

    Raises:
        ValueError: See :func:`image_paths`.
    """
    dataset = build_dataset(cfg, images)
    for transform in getattr(getattr(dataset, 'pipeline', None), 'transforms', []):
        if hasattr(transform, 'set_epoch'):
            transform.set_epoch(seed)
    collate = cfg.train_dataloader.get('collate_fn')
    collate = FUNCTIONS.get(collate['type']) if collate else default_collate
    return load_samples(dataset, spread_indices(len(dataset), num), collate, seed)


def keep_whole(results: dict) -> dict:
    """A transform that keeps the image (RGB, reduced) and the template as they are now."""
    image = Image.fromarray(np.ascontiguousarray(results['img'][..., ::-1]))  # mmcv loads BGR
    if max(image.size) > LARGEST:
        image = ImageOps.contain(image, (LARGEST, LARGEST), Image.Resampling.BICUBIC)
    results['whole_image'] = np.asarray(image)
    if 'template' in results:
        results['whole_template'] = results['template']
    return results


def with_whole_image(pipeline: Sequence[dict]) -> list:
    """A pipeline with :func:`keep_whole` after the last step that loads image or template.

    Its ``PackInputs`` also packs ``whole_image``, ``whole_template``, ``views`` and
    ``motions``, where they exist, and the image file's ``ori_shape`` and path.

    Raises:
        ValueError: A pipeline that loads no image.
    """
    names = [short_name(step) for step in pipeline]
    loaders = (*_IMAGE_LOADERS, 'RegisteredTemplate')
    places = [i for i, name in enumerate(names) if name in loaders]
    if not places:
        raise ValueError(
            f'the pipeline {names} has none of {list(loaders)}, so there is no whole image to show'
        )
    steps: list = []
    for i, step in enumerate(pipeline):
        if names[i] == 'PackInputs':
            meta = dict.fromkeys((*step.get('meta_keys', ()), 'ori_shape', 'img_path', 'parts'))
            keys = (*step.get('algorithm_keys', ()), *_WHOLE_KEYS)
            step = dict(step, algorithm_keys=keys, meta_keys=tuple(meta))
        steps.append(step)
        if i == places[-1]:
            steps.append(keep_whole)
    return steps


class PartSample(NamedTuple):
    """A whole image with masks of its parts, and the same image as input for a network.

    Attributes:
        name (str): The file's stem.
        image (np.ndarray): (H, W, 3) uint8 RGB.
        masks (dict): Part -> (h, w) uint8 0/1, of the whole image: ground truth, or a template.
        packed (dict): ``inputs`` (3, S, S) uint8 and ``data_samples``, for ``AttentionProbe``.
    """

    name: str
    image: np.ndarray
    masks: dict[str, np.ndarray]
    packed: dict


def load_part_samples(
    cfg: Config, images: Sequence[str] | None = None, num: int = 4, size: int | None = None
) -> list[PartSample]:
    """Whole images of a config with masks of their parts.

    A config whose test data have ``LoadParts`` gives its test images with the true masks.
    Otherwise the images are those of the training data, and the parts are where its
    ``RegisteredTemplate``, if any, is 0.5 or more.

    Args:
        cfg (Config): Of pretraining or evaluation.
        images (sequence, optional): Files and folders instead, without true masks.
        num (int): How many, spread evenly over the data.
        size (int, optional): Side in pixels that images are squashed to. Default: the
            backbone's ``img_size``.

    Raises:
        ValueError: No image, one that cannot be read, or no data in the config.
    """
    data = _parts_dataset_config(cfg)
    steps = {short_name(step): step for step in data['pipeline']}
    load = next((steps[name] for name in steps if name in _IMAGE_LOADERS), None)
    before = [load or dict(type='orl_mm.LoadXray')]
    if 'RegisteredTemplate' in steps:
        before.append(steps['RegisteredTemplate'])
    if images:
        chosen = [dict(img_path=path) for path in image_paths(images)]
        chosen = [chosen[i] for i in spread_indices(len(chosen), num)]
    else:
        dataset = DATASETS.build(dict(deepcopy(data), pipeline=[]))
        chosen = [dataset.get_data_info(i) for i in spread_indices(len(dataset), num)]
        if 'LoadParts' in steps:
            before.append(steps['LoadParts'])
    resize = dict(type='Resize', interpolation='bicubic', backend='pillow')
    if 'LoadParts' in steps:  # the evaluation's own, so that scores are the same
        resize.update(steps.get('Resize', {}))
    side = _pair(size or cfg.model['backbone'].get('img_size', 224))
    pack = dict(
        type='mmpretrain.PackInputs',
        algorithm_keys=('whole_image', 'whole_template', 'part_masks'),
        meta_keys=('img_path', 'parts'),
    )
    pipeline = Compose([*before, keep_whole, dict(resize, scale=side[::-1]), pack])
    return [_part_sample(pipeline, info) for info in chosen]


def parts_and_masks(samples: Sequence[PartSample]) -> tuple[list[str], list[np.ndarray]]:
    """All R parts of all images, and for each image (R, h, w), 0 for a part that it lacks."""
    parts = list(dict.fromkeys(part for sample in samples for part in sample.masks))
    masks = []
    for sample in samples:
        blank = np.zeros(next((m.shape for m in sample.masks.values()), (1, 1)), np.uint8)
        masks.append(np.array([sample.masks.get(part, blank) for part in parts]))
    return parts, masks


def _parts_dataset_config(cfg: Config) -> ConfigDict:
    for loader in ('test_dataloader', 'train_dataloader'):
        if cfg.get(loader) is None:
            continue
        data = innermost(cfg[loader]['dataset'])
        names = [short_name(step) for step in data.get('pipeline', ())]
        if loader == 'train_dataloader' or 'LoadParts' in names:
            return data
    raise ValueError(f'{cfg.filename} has neither test data with LoadParts nor training data')


def _part_sample(pipeline: Compose, info: dict) -> PartSample:
    path = info['img_path']
    packed = pipeline(dict(info))
    if packed is None:
        raise ValueError(f'{path} cannot be read')
    found = packed['data_samples']
    masks: dict[str, np.ndarray] = {}
    if 'part_masks' in found:
        masks = dict(zip(found.parts, np.asarray(found.part_masks, np.uint8), strict=True))
    elif 'whole_template' in found:
        template = np.asarray(found.whole_template >= 0.5, np.uint8)
        masks = dict(zip(found.parts, template, strict=True))
    stem = os.path.splitext(os.path.basename(path))[0]
    return PartSample(stem, found.whole_image, masks, packed)
