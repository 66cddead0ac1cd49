"""A view of an image: a half-open crop box and a flip, for images, label maps and points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.nn.modules.utils import _pair

Size = int | Sequence[int]

_FILTERS = dict(
    nearest=Image.Resampling.NEAREST,
    box=Image.Resampling.BOX,
    bilinear=Image.Resampling.BILINEAR,
    bicubic=Image.Resampling.BICUBIC,
    lanczos=Image.Resampling.LANCZOS,
)


@dataclass(frozen=True)
class ViewGeometry:
    """Where a view was cut from an image and whether it was mirrored.

    A random policy (:meth:`sample`) yields this deterministic transform, which can then be
    applied to the image, its label maps, points and boxes: crop, resize to the view's size,
    horizontal flip.

    Convention:
        Coordinates are continuous, x to the right and y downwards, (x, y)
        order. Pixel i covers [i, i + 1), its center is i + 0.5, so an image of
        width W spans [0, W]. The box is half-open: columns x1 .. x2 - 1 and
        rows y1 .. y2 - 1. In these terms the transform is
        ``x' = (x - x1) * w / (x2 - x1)``, then ``x' = w - x'`` when flipped.

    Args:
        x1, y1, x2, y2 (int): The crop box in pixels, 0 <= x1 < x2 <= width.
        height, width (int): Size of the image the box refers to.
        flip (bool): Mirrored left-right after the crop.

    Raises:
        ValueError: An empty box, or one that leaves the image.
    """

    x1: int
    y1: int
    x2: int
    y2: int
    height: int
    width: int
    flip: bool = False

    def __post_init__(self):
        if not (0 <= self.x1 < self.x2 <= self.width and 0 <= self.y1 < self.y2 <= self.height):
            raise ValueError(
                f'box ({self.x1}, {self.y1}, {self.x2}, {self.y2}) must have '
                f'an area and lie inside the image of {self.width} x '
                f'{self.height} pixels (x1 < x2 <= width, y1 < y2 <= height)'
            )

    @classmethod
    def whole(cls, height: int, width: int) -> 'ViewGeometry':
        """The view of x0: the whole image, not flipped."""
        return cls(0, 0, width, height, height, width)

    @classmethod
    def sample(
        cls,
        height: int,
        width: int,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip_prob: float = 0.5,
        max_attempts: int = 10,
    ) -> 'ViewGeometry':
        """Draw a random resized crop and a flip from numpy's global generator.

        The distribution is that of torchvision's ``RandomResizedCrop
        .get_params``: share of the area uniform in ``scale``, width / height
        log-uniform in ``ratio``, position uniform; after ``max_attempts``
        boxes that do not fit, the largest centered box whose aspect ratio lies
        in ``ratio``.

        Returns:
            ViewGeometry: of an image of ``height`` x ``width`` pixels.
        """
        box = None
        for _ in range(max_attempts):
            area = height * width * np.random.uniform(*scale)
            aspect = math.exp(np.random.uniform(*np.log(ratio)))
            w = round(math.sqrt(area * aspect))
            h = round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                y = int(np.random.randint(0, height - h + 1))
                x = int(np.random.randint(0, width - w + 1))
                box = (x, y, x + w, y + h)
                break
        if box is None:
            aspect = min(max(width / height, min(ratio)), max(ratio))
            w = min(width, max(1, round(height * aspect)))
            h = min(height, max(1, round(width / aspect)))
            x, y = (width - w) // 2, (height - h) // 2
            box = (x, y, x + w, y + h)
        flip = bool(np.random.rand() < flip_prob)
        return cls(*box, height=height, width=width, flip=flip)

    def apply_image(
        self,
        img: np.ndarray,
        size: Size = 224,
        interpolation: str = 'bicubic',
        backend: str = 'pillow',
    ) -> np.ndarray:
        """Cut the view out of an image.

        Args:
            img (np.ndarray): (H, W, 3) or (H, W) uint8, any channel order.
            size (int | tuple): Side, or (height, width), of the view.
            interpolation (str): nearest, box, bilinear, bicubic or lanczos,
                as Pillow computes them: low-passed when the view shrinks,
                equal to torchvision's crop and resize of a PIL image.
            backend (str): 'pillow', or anything else for torch's antialiased bilinear and
                bicubic filters on 8 bits, which differ from Pillow's by at most 1 level
                and take a fifth of the time.

        Returns:
            np.ndarray: (h, w, 3) or (h, w) uint8, contiguous.

        Raises:
            ValueError: Another interpolation, or an image of another size.
        """
        self._check_size(img)
        if interpolation not in _FILTERS:
            raise ValueError(f'interpolation={interpolation!r} is not one of {sorted(_FILTERS)}')
        h, w = _pair(size)
        crop = img[self.y1 : self.y2, self.x1 : self.x2]
        if backend != 'pillow' and interpolation in ('bilinear', 'bicubic'):
            # A channels-last batch of one, for which torch has vectorized code.
            planes = torch.from_numpy(np.ascontiguousarray(crop).reshape(1, *crop.shape[:2], -1))
            planes = F.interpolate(
                planes.permute(0, 3, 1, 2), (h, w), mode=interpolation, antialias=True
            )
            view = np.ascontiguousarray(planes[0].permute(1, 2, 0).numpy())
            view = cv2.flip(view, 1) if self.flip else view
            return view.reshape(h, w, *img.shape[2:])
        pil = Image.fromarray(crop)
        pil = pil.resize((w, h), _FILTERS[interpolation])
        if self.flip:
            pil = pil.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.array(pil)

    def apply_labels(self, labels, size: Size = 224):
        """Cut the view out of a label map by nearest neighbor.

        A cell of the view takes the label of the pixel under its center:
        column j reads x1 + floor((j + 0.5) * (x2 - x1) / w).

        Args:
            labels (np.ndarray | torch.Tensor): (H, W) of any integer type.
            size (int | tuple): Side, or (height, width), of the view.

        Returns:
            np.ndarray | torch.Tensor: (h, w), as given.
        """
        self._check_size(labels)
        h, w = _pair(size)
        rows = self.y1 + ((2 * np.arange(h) + 1) * (self.y2 - self.y1)) // (2 * h)
        cols = self.x1 + ((2 * np.arange(w) + 1) * (self.x2 - self.x1)) // (2 * w)
        if self.flip:
            cols = np.flip(cols).copy()
        return labels[rows[:, None], cols[None, :]]

    def apply_maps(self, maps: np.ndarray, size: Size = 14) -> np.ndarray:
        """Average maps of the whole image over each cell of the view.

        Args:
            maps (np.ndarray): (R, H', W') floats that cover the whole image,
                in any resolution of their own.
            size (int | tuple): Side, or (height, width), of the result.

        Returns:
            np.ndarray: (R, h, w) float32. Exact: a pixel is weighted by the share
            of it that lies in the cell.
        """
        h, w = _pair(size)
        rows = _overlap(self.y1 / self.height, self.y2 / self.height, maps.shape[1], h)
        cols = _overlap(self.x1 / self.width, self.x2 / self.width, maps.shape[2], w)
        out = rows @ maps.astype(np.float32, copy=False) @ cols.T
        return np.ascontiguousarray(out[..., ::-1]) if self.flip else out

    def apply_points(self, points: np.ndarray, size: Size = 224):
        """Coordinates in the view of points of the image.

        Args:
            points (np.ndarray): (N, 2) continuous (x, y) in image pixels.

        Returns:
            np.ndarray: (N, 2) float64 in view pixels; may lie outside it.
        """
        points = np.asarray(points, dtype=np.float64)
        out = (points - self._origin()) * self._scale(size)
        if self.flip:
            out[..., 0] = _pair(size)[1] - out[..., 0]
        return out

    def invert_points(self, points: np.ndarray, size: Size = 224):
        """Coordinates in the image of points (N, 2) of the view."""
        out = np.array(points, dtype=np.float64)
        if self.flip:
            out[..., 0] = _pair(size)[1] - out[..., 0]
        return out / self._scale(size) + self._origin()

    def apply_boxes(self, boxes: np.ndarray, size: Size = 224):
        """Half-open boxes (N, 4) x1, y1, x2, y2 of the image, in the view; unclipped."""
        return self._boxes(boxes, size, self.apply_points)

    def invert_boxes(self, boxes: np.ndarray, size: Size = 224):
        """Half-open boxes (N, 4) of the view, in the image."""
        return self._boxes(boxes, size, self.invert_points)

    def to_tensor(self) -> torch.Tensor:
        """(5,) float32: x1, y1, x2, y2 as shares of the image in [0, 1], flip 0/1."""
        return torch.tensor(
            [
                self.x1 / self.width,
                self.y1 / self.height,
                self.x2 / self.width,
                self.y2 / self.height,
                float(self.flip),
            ]
        )

    def _boxes(self, boxes, size, transform):
        corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 2, 2)
        out = transform(corners, size)
        if self.flip:  # a mirrored box keeps its left edge first
            out[..., 0] = out[:, ::-1, 0]
        return out.reshape(-1, 4)

    def _origin(self) -> np.ndarray:
        return np.array([self.x1, self.y1], dtype=np.float64)

    def _scale(self, size: Size) -> np.ndarray:
        h, w = _pair(size)
        return np.array([w / (self.x2 - self.x1), h / (self.y2 - self.y1)])

    def _check_size(self, array) -> None:
        if tuple(array.shape[:2]) != (self.height, self.width):
            raise ValueError(
                f'this view belongs to an image of {self.height} x '
                f'{self.width} (H x W), the array has {array.shape[0]} x '
                f'{array.shape[1]}'
            )


def _overlap(start: float, stop: float, length: int, cells: int) -> np.ndarray:
    """(cells, length): the share of each cell of [start, stop) that lies in each pixel.

    ``start`` and ``stop`` are shares of a line of ``length`` pixels.
    """
    edges = length * np.linspace(start, stop, cells + 1)
    pixels = np.arange(length)
    inside = (np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)).clip(
        0
    )
    return (inside / np.diff(edges)[:, None]).astype(np.float32)
