"""The photometric part of augmentation on the device, for a batch with parameters per sample.

Values are floats from 0 to 255 that each operation rounds to whole levels, as 8-bit images do.
Shapes: B views, H, W; channels are B, G, R. ``p`` is (B, 3, 1, 1, 1), the parameters.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from orl_mm.structures.photometry import OPERATIONS, split_operations
from orl_mm.structures.to_device import to_device

CONTRAST, SATURATION = OPERATIONS.index('contrast'), OPERATIONS.index('saturation')


def distort_views(inputs: list[Tensor], device: torch.device, non_blocking: bool) -> list[Tensor]:
    """Apply the operations that ``MultiViewWithGeometry(backend='device')`` drew.

    Nothing waits for the device: which operations occur is read from the host's copy.

    Args:
        inputs (list): Images (B, 3, H, W) uint8, of which the first V are views, then their
            operations, see :func:`~orl_mm.structures.photometry.split_operations`. Without
            operations the images are not changed.
        device (torch.device): Where the images go.
        non_blocking (bool): For copies from pinned memory.

    Returns:
        list: The images on the device; distorted views are float32.
    """
    host, operations = split_operations(inputs)
    images = [x.to(device, non_blocking=non_blocking) for x in host]
    if operations is None:
        return images
    codes = inputs[-1].numpy()[..., ::4]  # of the host's copy, (B, V, S)
    operations = to_device(operations, device)
    groups: dict[torch.Size, list[int]] = {}
    for view in range(codes.shape[1]):
        groups.setdefault(images[view].shape, []).append(view)
    for views in groups.values():  # views of one size together: fewer launches
        x = torch.cat([images[v] for v in views]).float()
        steps = torch.cat([operations[:, v] for v in views])[..., None, None, None]
        present = [{int(c) for c in codes[:, views, s].flat} for s in range(codes.shape[2])]
        with torch.autocast(x.device.type, enabled=False):
            x = distort(x, steps, present)
        for view, out in zip(views, x.chunk(len(views)), strict=True):
            images[view] = out
    return images


def distort(x: Tensor, steps: Tensor, present: list[set[int]]) -> Tensor:
    """Apply steps (B, S, 4, 1, 1, 1) to x (B, 3, H, W); step s has the codes ``present[s]``."""
    for s, codes in enumerate(present):
        code, p = steps[:, s, 0], steps[:, s, 1:]
        for function in dict.fromkeys(DEVICE[OPERATIONS[c]] for c in sorted(codes - {0})):
            own = [i for i, name in enumerate(OPERATIONS) if DEVICE.get(name) is function]
            chosen = (code >= own[0]) & (code <= own[-1])
            x = torch.where(chosen, function(x, code, p), x)
    return x


def blend(x: Tensor, code: Tensor, p: Tensor) -> Tensor:
    """Brightness, contrast and saturation: away from black, the mean grey, the grey image."""
    luma = grey(x, 0.114, 0.587, 0.299).round()
    mean = (luma.mean((2, 3), keepdim=True) + 0.5).floor()
    base = luma * (code == SATURATION) + mean * (code == CONTRAST)
    return (base + p[:, 0] * (x - base)).clamp(0, 255).floor()


def hue(x: Tensor, code: Tensor, p: Tensor) -> Tensor:
    """Shift by p turns in steps of 1 / 255, as Pillow's; saturation and value stay."""
    b, g, r = x.split(1, dim=1)
    value = x.amax(1, keepdim=True)
    chroma = value - x.amin(1, keepdim=True)
    unit = chroma.clamp(min=1)
    sixths = torch.where(
        value == r, (g - b) / unit, torch.where(value == g, (b - r) / unit + 2, (r - g) / unit + 4)
    )
    sixths = sixths + (255 * p[:, 0]).trunc() * (6 / 255)
    # 1, 3, 5 of b, g, r: a channel is full over two sixths of the circle.
    turned = (sixths + torch.arange(1, 6, 2, device=x.device).view(3, 1, 1)) % 6
    return (value - chroma * torch.minimum(turned, 4 - turned).clamp(0, 1)).round()


def grayscale(x: Tensor, code: Tensor, p: Tensor) -> Tensor:
    """The weighted mean of the channels, cut to whole levels."""
    return (grey(x, p[:, 0], p[:, 1], p[:, 2]) + 1e-3).floor().expand_as(x)


def solarize(x: Tensor, code: Tensor, p: Tensor) -> Tensor:
    """Invert the values from p on."""
    return torch.where(x < p[:, 0], x, 255 - x)


def blur(x: Tensor, code: Tensor, p: Tensor) -> Tensor:
    """A Gaussian of sigma p without the taps beyond 3 sigma."""
    sigma = p[:, 0].flatten(1).clamp(min=0.1)
    offsets = torch.arange(-REACH, REACH + 1, device=x.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    reach = torch.minimum((3 * sigma).ceil(), (p[:, 1].flatten(1) / 2).floor())
    kernel = kernel * (offsets.abs() <= reach)
    return separable(x, kernel, 'reflect').round()


def box_blur(x: Tensor, code: Tensor, p: Tensor) -> Tensor:
    """Pillow's ``GaussianBlur``: three boxes with fractional ends."""
    variance = p[:, 0].flatten(1) ** 2 / 3
    whole = (((12 * variance + 1).sqrt() - 1) / 2).floor()
    end = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    end = end / (6 * (variance - (whole + 1) ** 2))
    offsets = torch.arange(-REACH, REACH + 1, device=x.device).abs()
    kernel = (offsets <= whole) + end * (offsets == whole + 1)
    for _ in range(3):
        x = separable(x, kernel, 'replicate').round()
    return x


def sharpness(x: Tensor, code: Tensor, p: Tensor) -> Tensor:
    """mmcv's ``adjust_sharpness``: away from the image smoothed by (1 1 1; 1 5 1; 1 1 1) / 13."""
    box = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode='reflect'), 3, 1)
    smooth = ((9 * box + 4 * x) / 13).round()
    return (smooth + p[:, 0] * (x - smooth)).clamp(0, 255).floor()


REACH = 11  # the widest blur has 23 taps


def grey(x: Tensor, b, g, r) -> Tensor:
    """(B, 1, H, W): the weighted sum of the channels."""
    return x[:, 0:1] * b + x[:, 1:2] * g + x[:, 2:3] * r


def separable(x: Tensor, kernel: Tensor, mode: str) -> Tensor:
    """Filter each sample's rows and columns with its own kernel (B, K), which is normalized."""
    weight = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(x.shape[1], 0)[:, None, None]
    flat = F.pad(x, (REACH,) * 4, mode=mode).flatten(0, 1)[None]
    flat = F.conv2d(flat, weight, groups=len(weight))
    flat = F.conv2d(flat, weight.transpose(2, 3), groups=len(weight))
    return flat.view_as(x)


DEVICE: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = dict(
    brightness=blend,
    contrast=blend,
    saturation=blend,
    hue=hue,
    grayscale=grayscale,
    solarize=solarize,
    blur=blur,
    box_blur=box_blur,
    sharpness=sharpness,
)
