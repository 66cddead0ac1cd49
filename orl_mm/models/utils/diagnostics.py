"""How far embeddings spread, and how many objects the images have."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def effective_rank(points: Tensor) -> float:
    r"""Effective rank of a matrix: the exponential of the entropy of its spectrum.

    With singular values :math:`\sigma_i` and :math:`p_i = \sigma_i / \sum_j
    \sigma_j`: :math:`\exp(-\sum_i p_i \ln p_i)`. It lies between 1 (all rows
    parallel) and min(R, D).

    Args:
        points (Tensor): (R, D).

    Returns:
        float: NaN without rows, with NaN or infinite values, or for a zero matrix.

    Source: Roy and Vetterli, "The effective rank", EUSIPCO 2007, definition 1.
    """
    if points.ndim != 2:
        raise ValueError(
            f'effective_rank takes rows of vectors (R, D), got a tensor of shape '
            f'{tuple(points.shape)}'
        )
    points = points.detach().double()
    if not points.numel() or not bool(torch.isfinite(points).all()):
        return math.nan
    # Singular values through the smaller of the two Gram matrices.
    gram = points @ points.T if len(points) < points.shape[1] else points.T @ points
    values = torch.linalg.eigvalsh(gram).clamp(min=0.0).sqrt()
    total = values.sum()
    if total == 0:
        return math.nan
    share = values / total
    return float(torch.special.entr(share).sum().exp())


def embedding_spread(points: Tensor) -> float:
    r"""Spread of directions: 1 for isotropic embeddings, 0 where all are equal.

    The rows are L2-normalized; the standard deviation over the rows, averaged
    over dimensions and multiplied by :math:`\sqrt{D}`. Isotropic unit vectors
    have :math:`1 / \sqrt{D}` in every dimension (SimSiam, section 4.1).

    Args:
        points (Tensor): (R, D).

    Returns:
        float: NaN with fewer than two rows or NaN values.
    """
    if points.ndim != 2:
        raise ValueError(
            f'embedding_spread takes rows of vectors (R, D), got a tensor of shape '
            f'{tuple(points.shape)}'
        )
    if len(points) < 2:
        return math.nan
    unit = F.normalize(points.detach().float(), dim=1)
    return float(unit.std(dim=0).mean()) * math.sqrt(points.shape[1])


class ObjectCounts(NamedTuple):
    """Objects of a mini-batch."""

    per_image: float  # distinct ids in an image, mean over the images
    used: int  # distinct ids in the mini-batch


def count_objects(labels: Tensor) -> ObjectCounts:
    """Count the ids of label maps.

    Args:
        labels (Tensor): (B, ...) integers from 0, ids shared by the images.
    """
    flat = labels.flatten(1).long()
    present = torch.zeros(len(flat), int(flat.max()) + 1, dtype=torch.bool, device=flat.device)
    present.scatter_(1, flat, True)
    return ObjectCounts(float(present.sum(1).float().mean()), int(present.any(0).sum()))
