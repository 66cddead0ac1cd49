import logging
from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from orl_mm.io.part_layouts import read_part
from orl_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadParts(BaseTransform):
    """Read the masks of an image's parts, at their own full resolution.

    A pixel belongs to a part where a mask file is above half of its largest value, in
    any of the part's files. Put it anywhere in a pipeline: the masks always
    cover the whole image as it is stored.

    Required Keys:

    - part_paths (dict): Part -> list of mask files.
    - ori_shape (optional): (H, W) of the image, which the masks must fit in shape.

    Added Keys:

    - part_masks (torch.Tensor): (R, H, W) uint8, 0 or 1.
    - parts (tuple[str]): The R names; a part that the image has no file of is absent.

    Args:
        parts (Sequence[str], optional): Which, in which order. Default: all of the sample's.
        empty (str): A mask without a pixel is an ``'error'``, or the part is left out
            (``'drop'``) and the log says so.
        aspect_tolerance (float): How far width / height of mask and image may
            differ, relatively; rounding in a conversion needs a little.

    Raises:
        ValueError: An empty or unreadable mask, masks of different sizes, or of another
            shape than the image.
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
                raise ValueError(
                    f'the mask of {part} is empty: {paths[part]}; remove it, or '
                    "LoadParts(empty='drop')"
                )
            else:
                print_log(
                    f'empty mask of {part} is left out: {paths[part]}',
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
            raise ValueError(f'the masks of {results.get("img_path")} differ in size: {sizes}')
        if not sizes or 'ori_shape' not in results:
            return
        (h, w), (img_h, img_w) = next(iter(sizes.values())), results['ori_shape'][:2]
        if abs(w * img_h / (h * img_w) - 1) > self.aspect_tolerance:
            raise ValueError(
                f'masks of {h} x {w} do not cover the image of {img_h} x {img_w} '
                f'(height x width) at {results.get("img_path")}: another aspect ratio'
            )

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(parts={self.parts}, empty={self.empty!r}, '
            f'aspect_tolerance={self.aspect_tolerance})'
        )
