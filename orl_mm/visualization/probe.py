"""Look at data and models without leaving a trace in either."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from orl_mm.models.utils import crop_masks


@contextmanager
def preserved_rng(seed: int | None = None) -> Iterator[None]:
    """Put the host's random generators (Python, numpy, torch) back afterwards.

    Args:
        seed (int, optional): Seeds all three inside.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    if seed is not None:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


@contextmanager
def batch_statistics(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, except that batch norms use the statistics of the batch at hand.

    As in training, R2O clusters features that were normalised with the batch's
    own statistics (projects/r2o/README.md, row 24). Norms that were in evaluation mode before
    (frozen ones) keep their running statistics. Without running buffers an
    evaluating ``SyncBatchNorm`` takes the batch of its own process, without a
    collective: one rank of a distributed job can look alone, and none waits.
    Modes and buffers are put back afterwards, none is written to.
    """
    modes = [(m, m.training) for m in module.modules()]
    buffers = [
        (m, m.running_mean, m.running_var)
        for m in module.modules()
        if isinstance(m, _BatchNorm) and m.training
    ]
    try:
        for m, _ in modes:
            m.training = False
        for norm, _, _ in buffers:
            norm.running_mean = norm.running_var = None
        yield
    finally:
        for norm, mean, var in buffers:
            norm.running_mean, norm.running_var = mean, var
        for m, mode in modes:
            m.training = mode


@torch.no_grad()
def find_objects(
    model: nn.Module, x0: Tensor, regions: Tensor | None, num_regions: list[int] | None
) -> np.ndarray:
    """Object ids as a training step on this batch would find them, (B, S, S) int64.

    Args:
        model (nn.Module): With ``find_objects(x0, regions, num_regions)``.
        x0 (Tensor): (B, 3, H, W), normalised, on the model's device.
        regions (Tensor, optional): (B, H, W) superpixels.
        num_regions (list, optional): How many of them each image has.
    """
    with batch_statistics(model):
        return model.find_objects(x0, regions, num_regions).cpu().numpy()


def to_rgb(inputs: Tensor, preprocessor: nn.Module) -> np.ndarray:
    """Network inputs back to pictures: the inverse of the data preprocessor.

    Args:
        inputs (Tensor): (B, 3, H, W), normalised.
        preprocessor (nn.Module): mmengine's ``ImgDataPreprocessor`` or a child.

    Returns:
        np.ndarray: (B, H, W, 3) uint8 RGB.
    """
    images = inputs.detach().float()
    if getattr(preprocessor, '_enable_normalize', False):
        images = images * preprocessor.std + preprocessor.mean
    if not getattr(preprocessor, '_channel_conversion', False):
        images = images.flip(1)  # mmcv loads BGR, and nothing has changed that
    images = images.round().clamp(0, 255).byte()
    return images.permute(0, 2, 3, 1).cpu().numpy()


def labels_in_view(labels: np.ndarray, view: np.ndarray, size: int) -> np.ndarray:
    """The region with the largest share of each cell of a view.

    Args:
        labels (np.ndarray): (H, W) ids of the whole image.
        view (np.ndarray): (5,): x1, y1, x2, y2 in [0, 1], flip.
        size (int): Side of the result.

    Returns:
        np.ndarray: (size, size) int64, by :func:`~orl_mm.models.utils.crop_masks`,
        through which the network sees its masks.
    """
    ids, dense = np.unique(labels, return_inverse=True)
    one_hot = np.eye(len(ids), dtype=np.float32)[dense.reshape(labels.shape)]
    masks = torch.from_numpy(one_hot).permute(2, 0, 1)[None]
    view = torch.as_tensor(view, dtype=torch.float32)[None]
    return ids[crop_masks(masks, view, size)[0].argmax(0).numpy()]
