import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness

from orl_mm.registry import TRANSFORMS

from .transform import Transform


@TRANSFORMS.register_module()
class GaussianBlur(Transform):
    """Blur with a Gaussian of 23 taps and sigma 0.1 to 2 (BYOL, appendix B).

    mmpretrain's ``GaussianBlur`` is Pillow's, three box filters that only approximate a
    Gaussian and have no visible effect below sigma 0.5.

    Required Keys:

    - img (np.ndarray): (H, W, C) or (H, W) uint8.

    Modified Keys:

    - img

    Args:
        kernel_size (int): Taps per axis, odd. The border is reflected without
            repeating its edge pixel. Defaults to 23.
        sigma (tuple): Range of the standard deviation in pixels, drawn
            uniformly. Defaults to (0.1, 2.0).
        prob (float): Probability to blur. Defaults to 1.
    """

    def __init__(self, kernel_size: int = 23, sigma=(0.1, 2.0), prob: float = 1.0) -> None:
        if kernel_size % 2 != 1 or kernel_size < 1:
            raise ValueError(f'kernel_size={kernel_size} must be odd')
        if not 0 < sigma[0] <= sigma[1]:
            raise ValueError(f'sigma={sigma} must be a range above 0')
        if not 0 <= prob <= 1:
            raise ValueError(f'prob={prob} must lie in [0, 1]')
        self.kernel_size = kernel_size
        self.sigma = tuple(sigma)
        self.prob = prob

    @cache_randomness
    def _draw(self):
        apply = np.random.rand() < self.prob
        return np.random.uniform(*self.sigma) if apply else None

    def transform(self, results: dict) -> dict:
        sigma = self._draw()
        if sigma is not None:
            taps = (self.kernel_size, self.kernel_size)
            results['img'] = cv2.GaussianBlur(np.ascontiguousarray(results['img']), taps, sigma)
        return results
