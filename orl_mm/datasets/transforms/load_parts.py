import logging
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.logging import print_log

from orl_mm.errors import UserError
from orl_mm.io.image import check_stored_frame
from orl_mm.io.part_layouts import read_part
from orl_mm.registry import TRANSFORMS

from .transform import Transform


@TRANSFORMS.register_module()
class LoadParts(Transform):
    """Read the masks of an image's parts, at their own full resolution.

    A pixel belongs to a part if any of the part's mask files is above half of its largest value
    there. The masks cover the whole image as it is stored, so this may be anywhere in a
    pipeline.

    Required Keys:

    - part_paths (dict): Part -> list of mask files.
    - ori_shape (optional): (H, W) of the image, whose aspect ratio the masks must have.

    Added Keys:

    - part_masks (torch.Tensor): (R, H, W) uint8, 0 or 1.
    - parts (tuple[str]): The R names; a part that the image has no file of is absent.

    Args:
        parts (Sequence[str], optional): Which parts, in this order. Default: all of the sample's.
        empty (str): A mask without a pixel is an ``'error'``, or its part is left out with a
            warning (``'drop'``).
        aspect_tolerance (float): Relative difference that the aspect ratios of mask and image
            may have, as from rounding in a conversion.

    Raises:
        UserError: An empty or unreadable mask, masks of different sizes, or of another
            aspect ratio than the image; an image that EXIF turns.
    """

    def __init__(
        self,
        parts: Sequence[str] | None = None,
        empty: str = 'error',
        aspect_tolerance: float = 0.02,
    ) -> None:
        if empty not in ('error', 'drop'):
            raise ValueError(f"empty={empty!r} must be 'error' or 'drop'")
        if aspect_tolerance < 0:
            raise ValueError(f'aspect_tolerance={aspect_tolerance} must not be negative')
        self.parts = None if parts is None else tuple(parts)
        self.empty = empty
        self.aspect_tolerance = aspect_tolerance

    def transform(self, results: dict) -> dict:
        paths = results['part_paths']
        masks = {}
        for part in self.parts or paths:
            if not paths.get(part):
                continue
            mask = read_part(paths[part])
            if mask.any():
                masks[part] = mask
            elif self.empty == 'error':
                raise UserError(
                    f'the mask of {part} is empty: {paths[part]}; remove it, or '
                    "LoadParts(empty='drop')"
                )
            else:
                print_log(
                    f'the empty mask of {part} is left out: {paths[part]}',
                    logger='current',
                    level=logging.WARNING,
                )
        self._check(masks, results)
        results['parts'] = tuple(masks)
        results['part_masks'] = (
            torch.from_numpy(np.stack(list(masks.values())).astype(np.uint8))
            if masks
            else torch.zeros((0, *results.get('ori_shape', (0, 0))), dtype=torch.uint8)
        )
        return results

    def _check(self, masks: dict, results: dict) -> None:
        sizes = {part: mask.shape for part, mask in masks.items()}
        if len(set(sizes.values())) > 1:
            raise UserError(f'the masks of {results.get("img_path")} differ in size: {sizes}')
        if not sizes or 'ori_shape' not in results:
            return
        check_stored_frame(results)
        (h, w), (img_h, img_w) = next(iter(sizes.values())), results['ori_shape'][:2]
        if abs(w * img_h / (h * img_w) - 1) > self.aspect_tolerance:
            raise UserError(
                f'masks of {h} x {w} do not cover the image of {img_h} x {img_w} '
                f'(height x width) at {results.get("img_path")}: another aspect ratio'
            )
