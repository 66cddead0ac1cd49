import numpy as np
from mmcv.transforms import BaseTransform, Resize

from orl_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomRelativeResize(BaseTransform):
    """Resize an image and its label map by a random factor of the image's own size.

    The ``Resize(img_scale=None, ratio_range=...)`` of mmseg 0.x, with which R2O's public code
    trains on VOC; mmseg 1.x's ``RandomResize`` needs a size that is the same for all images.
    Both sides are rounded to the nearest pixel, a half upwards: 500 x 375 by 0.5 is 250 x 188,
    where mmseg 0.x cut 187.5 to 187 and then fitted the long side to it, 249 x 187.

    Required Keys:

    - img (np.ndarray): (H, W, C).
    - gt_seg_map (np.ndarray, optional): (H, W).

    Modified Keys:

    - img, by bilinear interpolation; gt_seg_map, by the nearest label
    - img_shape

    Added Keys:

    - scale (tuple): (width, height) in pixels.
    - scale_factor (tuple): (width, height), what the rounded sides are of the old ones.
    - keep_ratio (bool): False, since each side is rounded by itself.

    Args:
        ratio_range (tuple): Least and largest factor; uniform between them.

    Raises:
        ValueError: A range that is no (least, largest) of positive factors.
    """

    def __init__(self, ratio_range: tuple[float, float] = (0.5, 2.0)) -> None:
        if len(ratio_range) != 2 or not 0 < ratio_range[0] <= ratio_range[1] < float('inf'):
            raise ValueError(
                f'ratio_range={ratio_range!r} must be (least, largest), both positive '
                "factors of the image's size, such as (0.5, 2.0)"
            )
        self.ratio_range = tuple(map(float, ratio_range))

    def transform(self, results: dict) -> dict:
        ratio = np.random.uniform(*self.ratio_range)
        height, width = results['img'].shape[:2]
        # A side of one pixel halved would be none.
        size = tuple(max(1, int(side * ratio + 0.5)) for side in (width, height))
        return Resize(scale=size, keep_ratio=False)(results)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(ratio_range={self.ratio_range})'
