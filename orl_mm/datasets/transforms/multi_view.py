import warnings
from dataclasses import dataclass
from typing import List, Optional, Tuple, Union

import torch
from mmcv.transforms import BaseTransform, Compose

from orl_mm.registry import TRANSFORMS
from orl_mm.structures.view_geometry import ViewGeometry

# mmpretrain's ColorJitter meets this at every call, in every worker.
warnings.filterwarnings('ignore', "Only use 'alpha' for pillow backend")

# Transforms that move pixels: after the geometry is drawn they would make the
# recorded box wrong.
_MOVES_PIXELS = frozenset((
    'Albumentations', 'AutoAugment', 'CenterCrop', 'EfficientNetCenterCrop',
    'EfficientNetRandomCrop', 'MAERandomResizedCrop', 'MultiScaleFlipAug',
    'Pad', 'RandAugment', 'RandomAffine', 'RandomChoiceResize', 'RandomCrop',
    'RandomFlip', 'RandomResize', 'RandomResizedCrop',
    'RandomResizedCropAndInterpolationWithTwoPic', 'RandomTranslatePad',
    'Resize', 'ResizeEdge', 'Rotate', 'Shear', 'TestTimeAug', 'Translate'))


@dataclass
class _Policy:
    """What a view's geometry is drawn from."""
    size: Union[int, Tuple[int, int]]
    scale: Tuple[float, float]
    ratio: Tuple[float, float]
    flip_prob: float
    interpolation: str
    max_attempts: int = 10


@TRANSFORMS.register_module()
class MultiViewWithGeometry(BaseTransform):
    """Cut several views and say where each was cut; instead of ``MultiView``.

    Each view's geometry (random resized crop, flip) is drawn first and
    recorded; the view's photometric pipeline runs afterwards on the cut view.

    A pipeline written for ``MultiView`` works unchanged: its own
    ``RandomResizedCrop`` and ``RandomFlip`` are taken out and drawn here with
    their parameters, which then count instead of ``size``, ``scale``,
    ``ratio``, ``interpolation`` and ``flip_prob`` (a crop of its own without
    a flip means no flip; flipping commutes with everything photometric).
    Any other transform that moves pixels is refused.

    Required Keys:

    - img (np.ndarray): (H, W, 3) uint8.
    - x0 (np.ndarray, optional): the whole image, appended as the last view.

    Modified Keys:

    - img (list): The views (h, w, 3) uint8, then ``x0`` if there is one.
    - img_shape (tuple): (h, w) of the first view.

    Added Keys:

    - views (torch.Tensor): (V, 5) float32, see
      :meth:`ViewGeometry.to_tensor`; the whole image is not among them.

    Args:
        transforms (list): A photometric pipeline (a list of transforms) for
            each kind of view.
        num_views (int | list[int]): How many views of each kind.
        size (int | tuple): Side, or (height, width), of a view.
        scale (tuple): Share of the image's area. Defaults to (0.08, 1).
        ratio (tuple): Width / height. Defaults to (3/4, 4/3).
        flip_prob (float): 0.5 (thesis); 1.0 is the ``official`` preset's,
            whose loader passes the arguments in another order than meant.
        interpolation (str): Pillow's filter. Defaults to 'bicubic'.

    Raises:
        ValueError: Lists of different lengths, a pipeline that moves pixels.
    """

    def __init__(self,
                 transforms: List[list],
                 num_views: Union[int, List[int]] = (1, 1),
                 size: Union[int, Tuple[int, int]] = 224,
                 scale: Tuple[float, float] = (0.08, 1.),
                 ratio: Tuple[float, float] = (3 / 4, 4 / 3),
                 flip_prob: float = 0.5,
                 interpolation: str = 'bicubic') -> None:
        if isinstance(num_views, int):
            num_views = [num_views]
        if len(num_views) != len(transforms):
            raise ValueError(
                f'num_views={list(num_views)} names {len(num_views)} kinds of '
                f'views, transforms has {len(transforms)} pipelines')
        if not 0 <= flip_prob <= 1:
            raise ValueError(f'flip_prob={flip_prob} must lie in [0, 1]')
        default = _Policy(size, tuple(scale), tuple(ratio), flip_prob,
                          interpolation)
        self.num_views = list(num_views)
        self.pipelines: List[Compose] = []
        self.policies: List[_Policy] = []
        for pipeline in transforms:
            policy, photometric = _split(Compose(pipeline), default)
            self.policies.append(policy)
            self.pipelines.append(photometric)

    def sample(self, height: int, width: int) -> List[ViewGeometry]:
        """Draw the geometry of all views of one image."""
        return [
            ViewGeometry.sample(height, width, p.scale, p.ratio, p.flip_prob,
                                p.max_attempts)
            for p, n in zip(self.policies, self.num_views) for _ in range(n)
        ]

    def transform(self, results: dict) -> Optional[dict]:
        img = results['img']
        geometry = self.sample(*img.shape[:2])
        kinds = [i for i, n in enumerate(self.num_views) for _ in range(n)]
        views = []
        for kind, where in zip(kinds, geometry):
            policy = self.policies[kind]
            view = where.apply_image(img, policy.size, policy.interpolation)
            # A shallow copy is enough: the view is new, and nothing
            # photometric changes another key's value in place.
            inputs = dict(results, img=view, img_shape=view.shape[:2])
            outputs = self.pipelines[kind](inputs)
            if outputs is None:
                return None
            views.append(outputs['img'])
        results['img_shape'] = views[0].shape[:2]
        if 'x0' in results:
            views.append(results['x0'])
        results['img'] = views
        results['views'] = torch.stack([g.to_tensor() for g in geometry])
        return results

    def __repr__(self) -> str:
        lines = [type(self).__name__ + '(']
        for policy, pipeline, n in zip(self.policies, self.pipelines,
                                       self.num_views):
            lines.append(f'{n} views of {policy}:\n{pipeline}')
        return '\n'.join(lines) + ')'


def _split(pipeline: Compose, default: _Policy) -> Tuple[_Policy, Compose]:
    """Take the stock crop and flip out of a pipeline."""
    policy = _Policy(**vars(default))
    photometric, crops, flips = [], 0, 0
    for transform in pipeline.transforms:
        name = type(transform).__name__
        if name == 'RandomResizedCrop':
            crops += 1
            policy.size = tuple(transform.scale)
            policy.scale = tuple(transform.crop_ratio_range)
            policy.ratio = tuple(transform.aspect_ratio_range)
            policy.interpolation = transform.interpolation
            policy.max_attempts = transform.max_attempts
        elif name == 'RandomFlip' and transform.direction == 'horizontal' \
                and isinstance(transform.prob, (int, float)):
            flips += 1
            policy.flip_prob = transform.prob
        else:
            _refuse_geometry(transform)
            photometric.append(transform)
    if crops > 1 or flips > 1:
        raise ValueError(f'a view pipeline crops {crops} times and flips '
                         f'{flips} times; once each can be recorded')
    if crops and not flips:  # a pipeline with its own geometry, all of it
        policy.flip_prob = 0.
    return policy, Compose(photometric)


def _refuse_geometry(transform) -> None:
    name = type(transform).__name__
    if name in _MOVES_PIXELS:
        raise ValueError(
            f'{name} moves pixels after the view was cut, so the recorded '
            'view would be wrong: use the arguments size, scale, ratio and '
            'flip_prob of MultiViewWithGeometry, or put it before')
    inner = getattr(transform, 'transforms', None)
    if isinstance(inner, Compose):
        inner = inner.transforms
    for item in inner if isinstance(inner, (list, tuple)) else ():
        for t in item if isinstance(item, (list, tuple, Compose)) else [item]:
            _refuse_geometry(t)
