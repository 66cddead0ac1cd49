import os
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from orl_mm.registration.cache import TemplateCache
from orl_mm.registration.template import read_template
from orl_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RegisteredTemplate(BaseTransform):
    """Put an image's template into the sample, in the image's own frame (thesis 3.2).

    It comes before the views are cut; ``MultiViewWithGeometry`` carries it along. The three
    encodings of the thesis are three kinds of ``source``:

    - Spatial heuristic: a ``.json`` file of polygons, or ``'cxr_triangles'``, which is shipped.
    - Predicted global template: a ``.npz`` file of ``tools/average_template.py``.
    - Deformable registration: a folder of ``tools/register_templates.py``.

    Required Keys:

    - img (np.ndarray): (H, W, C)
    - img_path (with a folder)

    Added Keys:

    - template (np.ndarray): (R, h, w) float32 in [0, 1]; the maps cover the whole image.
    - parts (tuple): R names.

    Args:
        source (str): See above.
        root (str, optional): With a folder: where the images' relative paths begin, if the
            images were moved after registration.
        parts (sequence, optional): Which parts, in which order. Default: all.
        threshold (float, optional): From there on a cell belongs to the part, 0.5 in the
            thesis. None keeps shares, such as an average's.
        size (int): Side of the maps that polygons are drawn on.
        check (str): With a folder: how an image that has changed since is noticed, see
            :class:`~orl_mm.registration.cache.TemplateCache`.

    Raises:
        ValueError: Unknown parts, a threshold outside (0, 1], no valid template.
        CacheError: A folder without this image's template, or with one of another image.
    """

    def __init__(
        self,
        source: str,
        root: str | None = None,
        parts: Sequence[str] | None = None,
        threshold: float | None = 0.5,
        size: int = 256,
        check: str = 'pixels',
    ) -> None:
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f'threshold={threshold} must lie in (0, 1], or be None for soft maps')
        self.source, self.threshold = source, threshold
        if os.path.isdir(os.path.expanduser(source)):
            self.cache = known = TemplateCache(os.path.expanduser(source), root, check)
            self._maps = None
        else:
            known, self.cache = read_template(source, size), None
            self._maps = known.maps
            if threshold is not None:
                self._maps = (self._maps >= threshold).astype(np.float32)
        self.parts = tuple(known.parts if parts is None else parts)
        lacking = [part for part in self.parts if part not in known.parts]
        if lacking:
            raise ValueError(
                f'template {source} has the parts {list(known.parts)} and lacks {lacking}'
            )
        self._chosen = [known.parts.index(part) for part in self.parts]

    def transform(self, results: dict) -> dict:
        maps = self._maps
        if maps is None:  # 0 and 1 alone: a threshold changes nothing
            maps = self.cache.read(results['img_path'], results['img']).astype(np.float32)
        results['template'] = maps[self._chosen]
        results['parts'] = self.parts
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(source={self.source!r}, parts={self.parts}, '
            f'threshold={self.threshold})'
        )
