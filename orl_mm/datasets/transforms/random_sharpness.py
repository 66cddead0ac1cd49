import math

import mmcv
import numpy as np
from mmcv.transforms.utils import cache_randomness

from orl_mm.registry import TRANSFORMS

from .transform import Transform


@TRANSFORMS.register_module()
class RandomSharpness(Transform):
    """Blur or sharpen by a factor drawn from a range (thesis 3.3).

    ``img * factor + smoothed * (1 - factor)`` as in Pillow's ``ImageEnhance.Sharpness``: 0 is
    smoothed, 1 the image, 2 sharpened. The factor is drawn log-uniformly, so 0.5 and 2 are
    equally strong; mmpretrain's ``Sharpness`` has a range that is symmetric around 1.

    Required Keys:

    - img (np.ndarray): (H, W, C) uint8.

    Modified Keys:

    - img

    Args:
        factor (tuple): Range of the factor, above 0. Defaults to (0.5, 2).
        prob (float): Defaults to 0.5.

    Raises:
        ValueError: A range that is not increasing and positive, a probability outside [0, 1].
    """

    def __init__(self, factor=(0.5, 2.0), prob: float = 0.5) -> None:
        if not 0 < factor[0] <= factor[1]:
            raise ValueError(f'factor={tuple(factor)} must be a range above 0')
        if not 0 <= prob <= 1:
            raise ValueError(f'prob={prob} must lie in [0, 1]')
        self.factor, self.prob = tuple(factor), prob

    @cache_randomness
    def _draw(self):
        chance, draw = np.random.rand(), np.random.uniform(*np.log(self.factor))
        return math.exp(draw) if chance < self.prob else None

    def transform(self, results: dict) -> dict:
        factor = self._draw()
        if factor is not None:
            results['img'] = mmcv.adjust_sharpness(results['img'], factor)
        return results
