import numpy as np
from mmcv.transforms import Resize

from orl_mm.registry import TRANSFORMS

from .transform import Transform


@TRANSFORMS.register_module()
class RandomRelativeResize(Transform):
    """Resize an image and its label map by a random factor of the image's own size.

    This is ``Resize(img_scale=None, ratio_range=...)`` of mmseg 0.x, with which R2O's public
    code trains on VOC; mmseg 1.x's ``RandomResize`` needs one size for all images. Both sides
    are rounded to the nearest pixel, halves upwards: 500 x 375 by 0.5 is 250 x 188,
    where mmseg 0.x cut 187.5 to 187 and then fitted the long side to it, 249 x 187.

    Required Keys:

    - img (np.ndarray): (H, W, C).
    - gt_seg_map (np.ndarray, optional): (H, W).

    Modified Keys:

    - img, by bilinear interpolation; gt_seg_map, by the nearest label
    - img_shape

    Added Keys:

    - scale (tuple): (width, height) in pixels.
    - scale_factor (tuple): (width, height), new sides divided by old ones.
    - keep_ratio (bool): False, since the sides are rounded separately.

    Args:
        ratio_range (tuple): Smallest and largest factor; drawn uniformly.

    Raises:
        ValueError: A range that is not (smallest, largest) with positive factors.
    """

    def __init__(self, ratio_range: tuple[float, float] = (0.5, 2.0)) -> None:
        if len(ratio_range) != 2 or not 0 < ratio_range[0] <= ratio_range[1] < float('inf'):
            raise ValueError(
                f'ratio_range={ratio_range!r} must be (smallest, largest), both positive '
                "factors of the image's size, such as (0.5, 2.0)"
            )
        self.ratio_range = (float(ratio_range[0]), float(ratio_range[1]))

    def transform(self, results: dict) -> dict:
        ratio = np.random.uniform(*self.ratio_range)
        height, width = results['img'].shape[:2]
        # At least one pixel per side.
        size = tuple(max(1, int(side * ratio + 0.5)) for side in (width, height))
        return Resize(scale=size, keep_ratio=False)(results)
