from mmcv.transforms import BaseTransform

from orl_mm.registry import TRANSFORMS
from orl_mm.structures.rigid_motion import RigidMotion


@TRANSFORMS.register_module()
class RandomRigidMotion(BaseTransform):
    """Turn and shift an image, and its template with it (thesis 3.3, after MoCo-CXR).

    Within a pipeline of ``MultiViewWithGeometry`` it is taken out and drawn there, before the
    crop, with the rest of the view's geometry. The thesis names rotation and translation
    without magnitudes: 10 degrees are MoCo-CXR's, 10% are this project's choice.

    Required Keys:

    - img (np.ndarray): (H, W, C) uint8.
    - template (np.ndarray, optional): (R, h, w) float32, covers the image.

    Modified Keys:

    - img, template: black and 0 where nothing was.

    Args:
        angle (float): Degrees; uniform in [-angle, angle]. Defaults to 10.
        angle_prob (float): Defaults to 0.5.
        shift (float): Share of width and height; uniform in [-shift, shift]. Defaults to 0.1.
        shift_prob (float): Defaults to 0.5.

    Raises:
        ValueError: A probability or a share outside [0, 1], a negative angle.
    """

    def __init__(
        self,
        angle: float = 10.0,
        angle_prob: float = 0.5,
        shift: float = 0.1,
        shift_prob: float = 0.5,
    ) -> None:
        for name, value in dict(angle_prob=angle_prob, shift=shift, shift_prob=shift_prob).items():
            if not 0 <= value <= 1:
                raise ValueError(f'{name}={value} must lie in [0, 1]')
        if angle < 0:
            raise ValueError(
                f'angle={angle} must not be negative: it is the largest turn, in '
                'degrees, to either side'
            )
        self.options = dict(angle=angle, angle_prob=angle_prob, shift=shift, shift_prob=shift_prob)

    def sample(self, height: int, width: int) -> RigidMotion:
        """Draw the motion of one view."""
        return RigidMotion.sample(height, width, **self.options)

    def transform(self, results: dict) -> dict:
        motion = self.sample(*results['img'].shape[:2])
        if not motion.is_identity:
            results['img'] = motion.apply_image(results['img'])
            if 'template' in results:
                results['template'] = motion.apply_maps(results['template'])
        return results

    def __repr__(self) -> str:
        options = ', '.join(f'{name}={value}' for name, value in self.options.items())
        return f'{type(self).__name__}({options})'
