"""Rename object ids, so that colors mean something from picture to picture.

K-means numbers its clusters at random. Partitions stay as they are here; only
names change, and always for a whole batch at once.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment


def rank_by_size(labels: np.ndarray) -> np.ndarray:
    """Call the largest object of the batch 0, the next 1, and so on.

    Args:
        labels (np.ndarray): (..., H, W) ids >= 0 of any integer type.

    Returns:
        np.ndarray: int64, same shape; ids without gaps, ties in the old order.
    """
    ids, flat, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(ids), np.int64)
    rank[np.argsort(-counts, kind='stable')] = np.arange(len(ids))
    return rank[flat].reshape(labels.shape)


def match_ids(labels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Give each object the id of the reference object it overlaps, one to one.

    The assignment with the largest total overlap over the batch (Hungarian
    method). Objects left over get ids that the reference does not use.

    Args:
        labels (np.ndarray): (..., H, W) ids >= 0.
        reference (np.ndarray): Same shape.

    Returns:
        np.ndarray: int64, the partition of ``labels`` in names of ``reference``.

    Raises:
        ValueError: The shapes differ.
    """
    if labels.shape != reference.shape:
        raise ValueError(
            f'labels {labels.shape} and reference {reference.shape} must have the same shape'
        )
    ids, new = np.unique(labels, return_inverse=True)
    old_ids, old = np.unique(reference, return_inverse=True)
    overlap = np.zeros((len(ids), len(old_ids)), np.int64)
    np.add.at(overlap, (new.ravel(), old.ravel()), 1)
    rows, cols = linear_sum_assignment(-overlap)
    names = np.full(len(ids), -1, np.int64)
    names[rows] = old_ids[cols]
    left = np.flatnonzero(names < 0)
    free = np.setdiff1d(np.arange(len(ids) + int(old_ids.max()) + 1), old_ids)
    names[left] = free[: len(left)]
    return names[new].reshape(labels.shape)
