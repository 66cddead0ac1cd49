"""Pipelines that also hand out the image, and its template, before views are cut of it."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

KEYS = ('whole_image', 'whole_template', 'views', 'motions')
_SOURCES = ('LoadImage', 'LoadXray', 'LoadImageFromFile', 'RegisteredTemplate')
LARGEST = 1024  # pixels of the longer side that are kept


def short_name(part: dict | Callable) -> str:
    """The type of a config's part without its scope; otherwise its own name."""
    if isinstance(part, dict):
        return str(part['type']).split('.')[-1]
    return getattr(part, '__name__', type(part).__name__)


def keep_whole(results: dict) -> dict:
    """A transform: keep the image, RGB and small, and the template, as they are now."""
    image = np.ascontiguousarray(results['img'][..., ::-1])  # mmcv loads BGR
    scale = LARGEST / max(image.shape[:2])
    if scale < 1:
        size = [max(round(side * scale), 1) for side in image.shape[1::-1]]
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    results['whole_image'] = image
    if 'template' in results:
        results['whole_template'] = results['template']
    return results


def with_whole_image(pipeline: Sequence[dict]) -> list:
    """The pipeline with :func:`keep_whole` after what loads image and template.

    Its ``PackInputs`` also packs ``whole_image``, ``whole_template``, ``views`` and
    ``motions``, where they exist, and the image file's ``ori_shape`` and path.

    Raises:
        ValueError: A pipeline that loads no image.
    """
    names = [short_name(step) for step in pipeline]
    places = [i for i, name in enumerate(names) if name in _SOURCES]
    if not places:
        raise ValueError(
            f'the pipeline {names} has none of {list(_SOURCES)}, so there is no whole image to show'
        )
    out = []
    for i, step in enumerate(pipeline):
        if names[i] == 'PackInputs':
            step = dict(step)
            step['algorithm_keys'] = (*step.get('algorithm_keys', ()), *KEYS)
            step['meta_keys'] = tuple(
                dict.fromkeys((*step.get('meta_keys', ()), 'ori_shape', 'img_path', 'parts'))
            )
        out.append(step)
        if i == places[-1]:
            out.append(keep_whole)
    return out
