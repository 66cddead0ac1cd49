"""k nearest neighbors among many features, in memory that does not grow with their number.

Q queries, N features of the bank, D channels, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def nearest_neighbors(
    queries: Tensor, bank: Tensor, labels: Tensor, k: int, chunk: int = 65536
) -> tuple[Tensor, Tensor]:
    """The k features of a bank with the greatest cosine to each query.

    Args:
        queries (Tensor): (Q, D) of unit length.
        bank (Tensor): (N, D) of unit length; may lie on another device, from which it is then
            copied chunk by chunk.
        labels (Tensor): (N,) int64, where the bank is.
        k (int): Neighbors.
        chunk (int): Rows of the bank that are compared at a time: no array is larger than
            (Q, chunk) or (chunk, D).

    Returns:
        tuple: Cosines (Q, k), descending, and labels (Q, k). Where N < k the last N - k cosines
        are -inf.
    """
    best = queries.new_full((len(queries), k), float('-inf'))
    found = labels.new_zeros(best.shape).to(queries.device)
    for start in range(0, len(bank), chunk):
        part = bank[start : start + chunk].to(queries.device, non_blocking=True)
        theirs = labels[start : start + chunk].to(queries.device, non_blocking=True)
        near, index = (queries @ part.T).topk(min(k, len(part)))
        best, found = keep_nearest(
            torch.cat([best, near], 1), torch.cat([found, theirs[index]], 1), k
        )
    return best, found


def keep_nearest(cosines: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k greatest of (Q, n) cosines, descending, and their labels; n >= k."""
    cosines, index = cosines.topk(k)
    return cosines, labels.gather(1, index)


def weighted_vote(cosines: Tensor, labels: Tensor, num_classes: int, temperature: float) -> Tensor:
    r"""Each neighbor votes for its class with the weight exp(cosine / temperature).

    Args:
        cosines (Tensor): (Q, k); -inf does not vote.
        labels (Tensor): (Q, k) int64 in [0, num_classes).
        num_classes (int): C.
        temperature (float): Above 0.

    Returns:
        Tensor: (Q, C), each row sums to 1.

    Source: ``knn_classifier`` of github.com/facebookresearch/dino (there not normalized).
    """
    weights = F.softmax(cosines.float() / temperature, 1)
    votes = weights.new_zeros(len(weights), num_classes)
    return votes.scatter_add_(1, labels, weights)
