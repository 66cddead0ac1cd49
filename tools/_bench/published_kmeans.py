"""K-means the way the public R2O code runs it: one product, one loop over clusters.

Written anew from reading github.com/KKallidromitis/r2o, ``utils/kmeans`` (MIT).
"""

import math

import torch
from torch import Tensor


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances (n, p) of (n, d) and (p, d)."""
    return ((x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2.0 * torch.mm(x, y.T)).clamp(min=0)


def plus_plus(x: Tensor, k: int, generator: torch.Generator | None) -> Tensor:
    """k-means++ with 2 + floor(ln K) local trials."""
    trials = 2 + int(math.log(k))
    first = torch.randint(len(x), (1,), generator=generator, device=x.device)
    centers = torch.zeros(k, x.shape[1], dtype=x.dtype, device=x.device)
    centers[0] = x[first[0]]
    norm = (x**2).sum(1)
    nearest = distances(x[first], x)
    potential = nearest.sum(1)
    for c in range(1, k):
        draw = torch.rand(trials, generator=generator, device=x.device) * potential
        ids = torch.searchsorted(nearest[0].cumsum(0), draw).clamp_(max=len(x) - 1)
        found = (norm[ids][:, None] + norm[None] - 2.0 * torch.mm(x[ids], x.T)).clamp(min=0)
        found = torch.where(nearest < found, nearest, found)
        best = found.sum(1).argmin()
        potential, nearest = found.sum(1)[best], found[best][None]
        centers[c] = x[ids[best]]
    return centers


def published_kmeans(
    x: Tensor,
    k: int,
    generator: torch.Generator | None = None,
    max_iters: int = 200,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor, int]:
    """Labels (N,), centers (K, D) and the number of iterations.

    One departure: an empty cluster keeps its centre. The public code averages
    no points there, and the NaN spreads to every centre and label.
    """
    centers = plus_plus(x, k, generator)
    last = None
    for iteration in range(1, max_iters + 1):
        to_center = distances(x, centers)
        labels, inertia = to_center.argmin(1), to_center.min(1).values.sum()
        if last is not None and abs(last - inertia) < eps:  # waits for the device
            break
        last = inertia
        for c in range(k):
            rows = torch.where(labels == c)[0]  # waits for the device
            if len(rows):
                centers[c] = x.index_select(0, rows).mean(0)
    return labels, centers, iteration
