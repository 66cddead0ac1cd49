from collections.abc import Sequence

import cv2
import numpy as np

from orl_mm.registry import TRANSFORMS

from .transform import Transform


@TRANSFORMS.register_module()
class PartsToSegMap(Transform):
    """Merge masks of parts into one label map, for mmseg's segmentors and metrics.

    Label 0 is the background, label i + 1 is ``parts[i]``. Where parts overlap, the last one
    wins: name what lies in front, such as the heart, last. The map is resized to the size of
    the image as it was loaded, by nearest neighbor, so the masks may have another resolution
    (JSRT's images are twice the size of its masks). For training, use this before geometric
    transforms; for testing, after ``Resize``, since mmseg compares at the original size.

    Required Keys:

    - part_masks (torch.Tensor): (R, H', W') uint8 0/1, covering the whole image.
    - parts (tuple): R names.
    - ori_shape

    Added Keys:

    - gt_seg_map (np.ndarray): (H, W) uint8.
    - seg_fields (list): ``['gt_seg_map']``, which mmcv's transforms resize and flip too.

    Args:
        parts (sequence): The names of the labels 1, 2, ...

    Raises:
        ValueError: No part, a repeated one, or an image that lacks one, whose pixels would be
            labeled as background.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        if isinstance(parts, str) or not parts or len(set(parts)) != len(parts):
            raise ValueError(f'parts must be one or more different names, got {parts!r}')
        if len(parts) > 254:
            raise ValueError(f'a label map of 8 bits holds 254 parts, got {len(parts)}')
        self.parts = tuple(parts)

    def transform(self, results: dict) -> dict:
        masks, names = np.asarray(results['part_masks']), tuple(results['parts'])
        lacking = [part for part in self.parts if part not in names]
        if lacking:
            raise ValueError(
                f'{results.get("img_path")} has masks of {list(names)} and lacks '
                f'{lacking}: leave them out of PartsToSegMap(parts=...), or leave '
                'the image out'
            )
        labels: np.ndarray = np.zeros(masks.shape[1:], np.uint8)
        for label, part in enumerate(self.parts, 1):
            labels[masks[names.index(part)] != 0] = label
        height, width = results['ori_shape'][:2]
        if labels.shape != (height, width):
            size = (width, height)
            labels = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT))
        results['gt_seg_map'] = labels
        results['seg_fields'] = ['gt_seg_map']
        return results
