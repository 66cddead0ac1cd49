"""Mini-batches as training sees them: photographs, their superpixels and view boxes."""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from orl_mm.structures import RegionBatch

SUFFIXES = ('.jpg', '.jpeg', '.png')
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def photographs(folder: str | None, count: int) -> tuple[list[np.ndarray], str]:
    """``count`` RGB images and where they come from.

    Args:
        folder (str, optional): Images anywhere below it. None: $ORL_DATA where
            set, else crops of the photographs that scikit-image ships.
        count (int): How many.
    """
    folder = folder or os.environ.get('ORL_DATA')
    if folder:
        paths = sorted(p for p in Path(folder).rglob('*') if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise ValueError(
                f'no {", ".join(SUFFIXES)} file below {folder}; '
                'give --images another folder, or leave it out'
            )
        chosen = [paths[i * len(paths) // count] for i in range(count)]
        return [np.asarray(Image.open(p).convert('RGB')) for p in chosen], str(folder)
    from skimage import data

    whole = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    rng, crops = np.random.default_rng(0), []
    for i in range(count):
        image = whole[i % len(whole)]
        side = int(rng.integers(min(image.shape[:2]) // 2, min(image.shape[:2])))
        y, x = (int(rng.integers(0, n - side)) for n in image.shape[:2])
        crops.append(image[y : y + side, x : x + side])
    return crops, "crops of scikit-image's photographs"


def superpixels(images: list[np.ndarray], size: int, segments: int) -> tuple[list[np.ndarray], ...]:
    """Images squashed to ``size`` and their SLIC labels (H, W), 0..M-1."""
    from orl_mm.superpixels.priors import slic

    x0 = [np.asarray(Image.fromarray(i).resize((size, size), Image.BICUBIC)) for i in images]
    return x0, [slic(i, segments) for i in x0]


def view_boxes(count: int, seed: int = 0) -> Tensor:
    """(B, 2, 5) boxes of BYOL's random resized crop on a square, and a flip with p 0.5."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(2 * count):
        area, ratio = rng.uniform(0.08, 1), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = (min(1.0, np.sqrt(area * r)) for r in (ratio, 1 / ratio))
        x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
        rows.append((x, y, x + w, y + h, float(rng.random() < 0.5)))
    return torch.tensor(rows, dtype=torch.float32).view(count, 2, 5)


def cut(x0: Tensor, boxes: Tensor) -> Tensor:
    """The views (B, 3, H, W) that boxes (B, 5) show of images of the same size."""
    size, out = x0.shape[-1], []
    for image, (x1, y1, x2, y2, flip) in zip(x0, boxes.tolist(), strict=False):
        left, top = int(x1 * size), int(y1 * size)
        crop = image[
            None, :, top : max(top + 1, int(y2 * size)), left : max(left + 1, int(x2 * size))
        ]
        view = F.interpolate(crop, (size, size), mode='bilinear', align_corners=False)[0]
        out.append(view.flip(-1) if flip else view)
    return torch.stack(out)


def make_batch(
    batch_size: int, size: int = 224, segments: int = 100, folder: str | None = None
) -> tuple[list[Tensor], RegionBatch, str]:
    """x1, x2, x0 normalised (B, 3, H, W), their RegionBatch, and the images' origin."""
    images, origin = photographs(folder, batch_size)
    pixels, labels = superpixels(images, size, segments)
    x0 = torch.stack(
        [(torch.from_numpy(image.copy()).permute(2, 0, 1) / 255 - MEAN) / STD for image in pixels]
    )
    boxes, counts = view_boxes(batch_size), [int(m.max()) + 1 for m in labels]
    regions = torch.stack([torch.from_numpy(m) for m in labels])
    regions = regions.to(torch.uint8 if max(counts) <= 256 else torch.int32)
    batch = RegionBatch(boxes, regions, counts)
    return [cut(x0, boxes[:, 0]), cut(x0, boxes[:, 1]), x0], batch, origin
