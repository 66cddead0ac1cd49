from orl_mm.registry import TRANSFORMS
from orl_mm.structures.rigid_motion import RigidMotion

from .transform import Transform


@TRANSFORMS.register_module()
class RandomRigidMotion(Transform):
    """Rotate and shift an image together with its template (thesis 3.3, after MoCo-CXR).

    ``MultiViewWithGeometry`` takes it out of its pipelines and draws it with the rest of a
    view's geometry, before the crop. The thesis names rotation and translation without
    magnitudes: 10 degrees are MoCo-CXR's, 10% are this project's choice.

    Required Keys:

    - img (np.ndarray): (H, W, C) uint8.
    - template (np.ndarray, optional): (R, h, w) float32, covers the image.

    Modified Keys:

    - img, template: filled with 0.

    Args:
        angle (float): Degrees; uniform in [-angle, angle]. Defaults to 10.
        angle_prob (float): Defaults to 0.5.
        shift (float): Fraction of width and height; uniform in [-shift, shift]. Defaults to 0.1.
        shift_prob (float): Defaults to 0.5.

    Raises:
        ValueError: A probability or a fraction outside [0, 1], a negative angle.
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
                f'angle={angle} must not be negative: it is the largest rotation, in '
                'degrees, to either side'
            )
        self.angle, self.angle_prob = angle, angle_prob
        self.shift, self.shift_prob = shift, shift_prob

    def sample(self, height: int, width: int) -> RigidMotion:
        """Draw the motion of one view."""
        return RigidMotion.sample(
            height,
            width,
            angle=self.angle,
            angle_prob=self.angle_prob,
            shift=self.shift,
            shift_prob=self.shift_prob,
        )

    def transform(self, results: dict) -> dict:
        motion = self.sample(*results['img'].shape[:2])
        if not motion.is_identity:
            results['img'] = motion.apply_image(results['img'])
            if 'template' in results:
                results['template'] = motion.apply_maps(results['template'])
        return results
