import os
from collections.abc import Sequence

import numpy as np

from orl_mm.registration.cache import TemplateCache
from orl_mm.registration.template import Template, read_template
from orl_mm.registry import TRANSFORMS

from .transform import Transform


@TRANSFORMS.register_module()
class RegisteredTemplate(Transform):
    """Add an image's template to the sample, in the image's own frame (thesis 3.2).

    Use it before ``MultiViewWithGeometry``, which gives the template the geometry of each view.
    The three encodings of the thesis are three kinds of ``source``:

    - Spatial heuristic: a ``.json`` file of polygons, or ``'cxr_triangles'``, which is included.
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
        root (str, optional): For a folder: the root of the images' relative paths, if the
            images were moved after registration.
        parts (sequence, optional): Which parts, in which order. Default: all.
        threshold (float, optional): A cell belongs to the part if it has at least this value,
            0.5 in the thesis. None keeps soft maps, such as an average.
        size (int): Side of the maps that polygons are drawn on.
        check (str): For a folder: how a changed image is detected, see
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
        self.cache: TemplateCache | None = None
        known: TemplateCache | Template
        if os.path.isdir(os.path.expanduser(source)):
            known = self.cache = TemplateCache(os.path.expanduser(source), root, check)
        else:
            known = read_template(source, size)
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
        if self.cache is None:
            empty = [
                p for p, i in zip(self.parts, self._chosen, strict=True) if not self._maps[i].any()
            ]
            if empty:
                raise ValueError(
                    f'template {source} has no cell of {empty} at threshold={threshold}: lower it, '
                    'take threshold=None for soft maps, or leave the part out'
                )

    def transform(self, results: dict) -> dict:
        if self.cache is None:
            maps = self._maps
        else:  # masks of 0 and 1, which need no threshold
            maps = self.cache.read(results['img_path'], results['img']).astype(np.float32)
        results['template'] = maps[self._chosen]
        results['parts'] = self.parts
        return results
