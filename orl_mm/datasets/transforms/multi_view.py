from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform, Compose

from orl_mm.registry import TRANSFORMS
from orl_mm.structures.photometry import Operation, encode_operations
from orl_mm.structures.rigid_motion import RigidMotion
from orl_mm.structures.view_geometry import ViewGeometry

from .gaussian_blur import GaussianBlur
from .photometry import apply_fast, draw, num_operations
from .random_rigid_motion import RandomRigidMotion

BACKENDS = ('pillow', 'fast', 'device')

# Geometric transforms, after which the recorded box would be wrong.
_MOVES_PIXELS = frozenset(
    (
        'Albumentations',
        'AutoAugment',
        'CenterCrop',
        'EfficientNetCenterCrop',
        'EfficientNetRandomCrop',
        'MAERandomResizedCrop',
        'MultiScaleFlipAug',
        'Pad',
        'RandAugment',
        'RandomAffine',
        'RandomChoiceResize',
        'RandomCrop',
        'RandomFlip',
        'RandomResize',
        'RandomResizedCrop',
        'RandomResizedCropAndInterpolationWithTwoPic',
        'RandomTranslatePad',
        'Resize',
        'ResizeEdge',
        'Rotate',
        'Shear',
        'TestTimeAug',
        'Translate',
    )
)


@dataclass
class _Policy:
    """Parameters of the random geometry of one kind of view."""

    size: int | tuple[int, int]
    scale: tuple[float, float]
    ratio: tuple[float, float]
    flip_prob: float
    interpolation: str
    max_attempts: int = 10
    motion: RandomRigidMotion | None = None


@TRANSFORMS.register_module()
class MultiViewWithGeometry(BaseTransform):
    """Crop several views and record where each one lies; replaces ``MultiView``.

    The geometry of a view (motion, random resized crop, flip) is drawn first and recorded; its
    photometric pipeline runs afterwards on the cropped view. A template of the image gets the
    same geometry.

    A pipeline written for ``MultiView`` works unchanged: its ``RandomResizedCrop`` and
    ``RandomFlip`` are taken out, and their parameters replace ``size``, ``scale``, ``ratio``,
    ``interpolation`` and ``flip_prob`` (a pipeline with a crop and without a flip never flips;
    flipping commutes with photometric transforms). ``RandomRigidMotion`` is taken out too: the
    image is moved, then cropped. Other geometric transforms are an error.

    Required Keys:

    - img (np.ndarray): (H, W, 3) uint8.
    - x0 (np.ndarray, optional): the whole image, appended as the last view.
    - template (np.ndarray, optional): (R, h, w) float32 in [0, 1], maps that
      cover the whole image, see ``RegisteredTemplate``.

    Modified Keys:

    - img (list): The views (h, w, 3) uint8, then ``x0`` if there is one, then, with
      ``backend='device'``, the operations of
      :func:`~orl_mm.structures.photometry.encode_operations`.
    - img_shape (tuple): (h, w) of the first view.
    - template (torch.Tensor): (G, R, g, g) float32: the fraction of each cell that the part
      covers, 0 outside the image, for the first G views, which are all that have the size of
      the first one (the global crops). A mirrored part keeps its name.

    Added Keys:

    - views (torch.Tensor): (V, 5) float32, see
      :meth:`ViewGeometry.to_tensor`; the whole image is not among them.
    - motions (torch.Tensor): (V, 2, 3) float32, only if a pipeline moves the image, see
      :meth:`RigidMotion.matrix`; boxes then refer to the moved image.

    Args:
        transforms (list): A photometric pipeline (a list of transforms) for
            each kind of view.
        num_views (int | list[int]): How many views of each kind.
        size (int | tuple): Side, or (height, width), of a view.
        scale (tuple): Range of the fraction of the image's area. Defaults to (0.08, 1).
        ratio (tuple): Width / height. Defaults to (3/4, 4/3).
        flip_prob (float): 0.5 (thesis); 1.0 in the ``official`` preset, whose loader passes
            the arguments in the wrong order.
        interpolation (str): Pillow's filter. Defaults to 'bicubic'.
        template_size (int): Side g of the template in a view, which is the side of the patch
            grid: view side / patch size. Defaults to 14.
        backend (str): What computes the pixels; all draw the same parameters. ``'pillow'``
            (default): the transforms themselves, which is torchvision's result. ``'fast'``:
            torch's resizing and the operations of :mod:`~orl_mm.datasets.transforms.photometry`,
            a third of the time; the table of their differences is in
            ``tests/test_datasets/test_fast_pixels.py``. ``'device'``: as fast, but photometric
            operations are only drawn here and applied to the batch by the data preprocessor,
            which must be a ``ViewDataPreprocessor`` or ``RegionDataPreprocessor``.

    Raises:
        ValueError: Lists of different lengths, a geometric transform in a pipeline, an unknown
            backend, a transform that the device has no operation for, or motions together with
            ``x0``, whose regions they would not move.
    """

    def __init__(
        self,
        transforms: list[list],
        num_views: int | Sequence[int] = (1, 1),
        size: int | tuple[int, int] = 224,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip_prob: float = 0.5,
        interpolation: str = 'bicubic',
        template_size: int = 14,
        backend: str = 'pillow',
    ) -> None:
        check_backend(backend)
        if isinstance(num_views, int):
            num_views = [num_views]
        if len(num_views) != len(transforms):
            raise ValueError(
                f'num_views={list(num_views)} names {len(num_views)} kinds of '
                f'views, transforms has {len(transforms)} pipelines'
            )
        if not 0 <= flip_prob <= 1:
            raise ValueError(f'flip_prob={flip_prob} must lie in [0, 1]')
        default = _Policy(
            size, (scale[0], scale[1]), (ratio[0], ratio[1]), flip_prob, interpolation
        )
        self.num_views = list(num_views)
        self.template_size = template_size
        self.backend = backend
        self.pipelines: list[Compose] = []
        self.policies: list[_Policy] = []
        for pipeline in transforms:
            policy, photometric = _split(Compose(pipeline), default)
            if backend == 'device':
                _check_for_device(photometric.transforms)
            self.policies.append(policy)
            self.pipelines.append(photometric)

    def sample(self, height: int, width: int) -> list[ViewGeometry]:
        """Draw the geometry of all views of one image."""
        return [
            ViewGeometry.sample(height, width, p.scale, p.ratio, p.flip_prob, p.max_attempts)
            for p, n in zip(self.policies, self.num_views, strict=False)
            for _ in range(n)
        ]

    def sample_motions(self, height: int, width: int) -> list[RigidMotion | None]:
        """Draw the motion of all views of one image; None for views without motion."""
        return [
            p.motion.sample(height, width) if p.motion is not None else None
            for p, n in zip(self.policies, self.num_views, strict=False)
            for _ in range(n)
        ]

    def transform(self, results: dict) -> dict | None:
        img = results['img']
        geometry = self.sample(*img.shape[:2])
        motions = self.sample_motions(*img.shape[:2])
        kinds = [i for i, n in enumerate(self.num_views) for _ in range(n)]
        views: list[np.ndarray] = []
        templates: list[np.ndarray] = []
        operations: list[list[Operation | None]] = []
        for kind, where, motion in zip(kinds, geometry, motions, strict=False):
            policy = self.policies[kind]
            if motion is not None and motion.is_identity:
                motion = None
            view = img if motion is None else motion.apply_image(img)
            view = where.apply_image(view, policy.size, policy.interpolation, self.backend)
            # The guided views: all before the first one of another size.
            if (
                'template' in results
                and len(templates) == len(views)
                and (not views or view.shape == views[0].shape)
            ):
                maps = results['template']
                maps = maps if motion is None else motion.apply_maps(maps)
                templates.append(where.apply_maps(maps, self.template_size))
            # A shallow copy is enough, as photometric transforms change only the view.
            outputs = self.distort(dict(results, img=view, img_shape=view.shape[:2]), kind)
            if outputs is None:
                return None
            views.append(outputs['img'])
            operations.append(outputs.get('operations', []))
        results['img_shape'] = views[0].shape[:2]
        if 'x0' in results:
            views.append(results['x0'])
        results['img'] = views if self.backend == 'pillow' else [_by_planes(v) for v in views]
        if self.backend == 'device':
            results['img'].append(encode_operations(operations))
        results['views'] = torch.stack([g.to_tensor() for g in geometry])
        if templates:
            # Rounding may make a mean of ones larger than one.
            results['template'] = torch.from_numpy(np.stack(templates)).clamp(0, 1)
        if any(motion is not None for motion in motions):
            self._record(results, motions)
        return results

    def distort(self, results: dict, kind: int) -> dict | None:
        """Apply the photometric pipeline of a kind of view to ``results['img']``, or draw it."""
        pipeline = self.pipelines[kind]
        if self.backend == 'device':
            return dict(results, operations=[op for t in pipeline.transforms for op in draw(t)])
        if self.backend == 'fast':
            return apply_fast(pipeline.transforms, results)
        return pipeline(results)

    @staticmethod
    def _record(results: dict, motions: list[RigidMotion | None]) -> None:
        if 'x0' in results or 'regions' in results:
            raise ValueError(
                'RandomRigidMotion moves the views but not the regions of x0, '
                'which GenerateSuperpixels has added: leave one of them out'
            )
        still = np.eye(2, 3)
        results['motions'] = torch.from_numpy(
            np.stack([still if motion is None else motion.matrix() for motion in motions]).astype(
                np.float32
            )
        )

    def __repr__(self) -> str:
        lines = [type(self).__name__ + '(']
        for policy, pipeline, n in zip(self.policies, self.pipelines, self.num_views, strict=False):
            lines.append(f'{n} views of {policy}:\n{pipeline}')
        return '\n'.join(lines) + ')'


def _by_planes(img: np.ndarray) -> np.ndarray:
    """The same (H, W, 3) with its channels apart in memory, which ``PackInputs`` need not copy.

    OpenCV separates them five times as fast as the transposition there.
    """
    planes = np.empty((3, *img.shape[:2]), np.uint8)
    cv2.split(img, list(planes))
    return planes.transpose(1, 2, 0)


def check_backend(backend: str) -> None:
    """Raise a ValueError for an unknown backend."""
    if backend not in BACKENDS:
        raise ValueError(f'backend={backend!r} is not one of {BACKENDS}')


def _check_for_device(transforms: list) -> None:
    for transform in transforms:
        wide = isinstance(transform, GaussianBlur) and transform.kernel_size > 23
        if wide or num_operations(transform) is None:
            raise ValueError(
                f"backend='device' has no operation for {transform}; it has those for "
                'ColorJitter, RandomGrayscale, Solarize, GaussianBlur (up to 23 taps), '
                "RandomSharpness and RandomApply of them. Take backend='fast'"
            )


def _split(pipeline: Compose, default: _Policy) -> tuple[_Policy, Compose]:
    """Take crop, flip and motion out of a pipeline."""
    policy = _Policy(**vars(default))
    photometric, crops, flips, motions = [], 0, 0, 0
    for transform in pipeline.transforms:
        name = type(transform).__name__
        if name == 'RandomResizedCrop':
            crops += 1
            policy.size = tuple(transform.scale)
            policy.scale = tuple(transform.crop_ratio_range)
            policy.ratio = tuple(transform.aspect_ratio_range)
            policy.interpolation = transform.interpolation
            policy.max_attempts = transform.max_attempts
        elif (
            name == 'RandomFlip'
            and transform.direction == 'horizontal'
            and isinstance(transform.prob, (int, float))
        ):
            flips += 1
            policy.flip_prob = transform.prob
        elif isinstance(transform, RandomRigidMotion):
            motions += 1
            policy.motion = transform
        else:
            _reject_geometry(transform)
            photometric.append(transform)
    if crops > 1 or flips > 1 or motions > 1:
        raise ValueError(
            f'a view pipeline crops {crops} times, flips '
            f'{flips} times and moves {motions} times; once each '
            'can be recorded'
        )
    if crops and not flips:  # all geometry is the pipeline's
        policy.flip_prob = 0.0
    return policy, Compose(photometric)


def _reject_geometry(transform) -> None:
    name = type(transform).__name__
    if name in _MOVES_PIXELS:
        raise ValueError(
            f'{name} moves pixels after the view was cropped, so the recorded '
            'box would be wrong: use the arguments size, scale, ratio and '
            'flip_prob of MultiViewWithGeometry, or put it before'
        )
    inner = getattr(transform, 'transforms', None)
    if isinstance(inner, Compose):
        inner = inner.transforms
    for item in inner if isinstance(inner, (list, tuple)) else ():
        for t in item if isinstance(item, (list, tuple, Compose)) else [item]:
            _reject_geometry(t)
