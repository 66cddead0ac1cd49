import numpy as np
from mmcv.transforms.utils import cache_randomness

from orl_mm.registry import TRANSFORMS

from .transform import Transform


@TRANSFORMS.register_module()
class JigsawCrops(Transform):
    """Crop one square out of each cell of a grid and stack them in random order.

    The input of PIRL's pretext task (Misra and van der Maaten 2020, section 3.2), which
    InfoMin takes as its second branch: from an image of 255 x 255, nine cells of 85 x
    85, and a crop of 64 x 64 at a uniform position within each. The crops are stacked
    vertically, so that later transforms and the preprocessor see one image.

    Required Keys:

    - img (np.ndarray): (H, W, C).

    Modified Keys:

    - img (np.ndarray): (grid * grid * crop_size, crop_size, C); crop i, from the top, has
      the rows i * crop_size .. (i + 1) * crop_size - 1.
    - img_shape (tuple): (height, width) of the same.

    Args:
        grid (int): Cells along each side. Remaining pixels at the right and the bottom are
            not used. Defaults to 3.
        crop_size (int): Side of a crop in pixels. Defaults to 64.

    Raises:
        ValueError: A size below 1, or an image whose cells are smaller than a crop.

    Source: ``JigsawCrop`` in ``datasets/util.py`` of github.com/HobbitLong/PyContrast. There
    the head shuffles the crops of a batch; here they are shuffled per image in the loader,
    where the draw depends only on seed, epoch and image.
    """

    def __init__(self, grid: int = 3, crop_size: int = 64) -> None:
        if grid < 1 or crop_size < 1:
            raise ValueError(
                f'grid and crop_size must be at least 1, got grid={grid}, crop_size={crop_size}'
            )
        self.grid, self.crop_size = grid, crop_size

    @cache_randomness
    def _draw(self, spare_rows: int, spare_cols: int):
        count = self.grid**2
        offsets = np.random.randint(0, [spare_rows + 1, spare_cols + 1], (count, 2))
        return offsets, np.random.permutation(count)

    def transform(self, results: dict) -> dict:
        img, size = results['img'], self.crop_size
        height, width = (side // self.grid for side in img.shape[:2])
        if min(height, width) < size:
            raise ValueError(
                f'cells of {height} x {width} pixels are smaller than a crop of {size} x {size}: '
                f'resize the image to {self.grid * size} pixels a side at least, it has '
                f'{img.shape[0]} x {img.shape[1]}'
            )
        offsets, order = self._draw(height - size, width - size)
        crops = []
        for cell in order:
            y = cell // self.grid * height + offsets[cell, 0]
            x = cell % self.grid * width + offsets[cell, 1]
            crops.append(img[y : y + size, x : x + size])
        results['img'] = np.concatenate(crops)
        results['img_shape'] = results['img'].shape[:2]
        return results
