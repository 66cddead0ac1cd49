"""K-means on a mini-batch of vectors, without a loop over clusters in Lloyd's step
and without waiting for the device once per cluster or iteration.

k-means++ (Arthur and Vassilvitskii 2007) with 2 + floor(ln K) local trials, as
scikit-learn and the public R2O code start, then Lloyd's iterations under the
squared Euclidean distance (projects/r2o/README.md, rows 14 and 15).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Lloyd iterations between two looks of the host at the device's "converged" flag.
_CHUNK = 4
# The whole of a distribution, in the integers that k-means++ draws from.
_UNIT = 2.0**40


class KMeansResult(NamedTuple):
    """N points, D axes, K clusters asked for."""

    labels: Tensor  # (N,) int64, index into centers
    centers: Tensor  # (K, D); rows that are not alive repeat the first centre
    alive: Tensor  # (K,) bool: False once the distinct points ran out
    inertia: Tensor  # scalar: sum of squared distances to the nearest centre
    iterations: Tensor  # scalar int64


def kmeans(
    points: Tensor, num_clusters: int, generator: torch.Generator | None = None, **kwargs
) -> tuple[Tensor, Tensor]:
    """Cluster points; legal for any K, also above the number of distinct points.

    Args:
        points (Tensor): (N, D), finite, N >= 1.
        num_clusters (int): K >= 1.
        generator (torch.Generator, optional): On the device of ``points``. When
            given, the global generator is never drawn from.
        **kwargs: ``max_iters``, ``tol``, ``absolute_tol``, see :func:`fit_kmeans`.

    Returns:
        tuple: labels (N,) int64 and centers (K', D), K' = min(K, distinct points).

    Raises:
        ValueError: No points, not (N, D), K < 1, or a value that is not finite.
    """
    if points.dim() != 2 or len(points) == 0:
        raise ValueError(f'points must be (N, D) with N >= 1, got {tuple(points.shape)}')
    if not torch.isfinite(points).all():
        raise ValueError(
            'points hold NaN or infinite values; look at the features '
            'before clustering (a diverged network gives such)'
        )
    result = fit_kmeans(points, num_clusters, generator, **kwargs)
    return result.labels, result.centers[result.alive]


@torch.no_grad()
def fit_kmeans(
    points: Tensor,
    num_clusters: int,
    generator: torch.Generator | None = None,
    max_iters: int = 200,
    tol: float = 1e-4,
    absolute_tol: float | None = None,
) -> KMeansResult:
    """:func:`kmeans` with all K rows kept, so that no shape depends on the data.

    Args:
        points (Tensor): (N, D); half precision is clustered in fp32.
        num_clusters (int): K >= 1.
        generator (torch.Generator, optional): See :func:`kmeans`.
        max_iters (int): Most Lloyd iterations.
        tol (float): Stop when the inertia falls by no more than this share of it.
        absolute_tol (float, optional): Stop at this change of the summed inertia
            instead (the public code, 1e-6).

    Returns:
        KMeansResult
    """
    if num_clusters < 1:
        raise ValueError(
            f'num_clusters must be at least 1, got {num_clusters}; '
            'None in the schedule switches clustering off'
        )
    if points.dtype not in (torch.float32, torch.float64):
        points = points.float()
    # About their mean the expanded square below loses the fewest digits.
    middle = points.mean(0)
    points = points - middle
    square = (points * points).sum(1)
    centers, alive = _plus_plus(points, square, num_clusters, generator)
    result = _lloyd(points, square, centers, alive, max_iters, tol, absolute_tol)
    return result._replace(centers=result.centers + middle)


def _distances(points: Tensor, square: Tensor, centers: Tensor) -> Tensor:
    """Squared distances (K, N) by the expanded square; never below zero."""
    out = torch.addmm(square[None], centers, points.t(), alpha=-2)
    return out.add_((centers * centers).sum(1, keepdim=True)).clamp_(min=0)


def _identity(points: Tensor) -> Tensor:
    """An id per point (N,), equal exactly where points are equal.

    The expanded square cannot tell a copy from a close neighbour in floating
    point; a random projection in double precision can (up to collisions of
    probability 2^-52 a pair). Draws nothing from any generator.
    """
    d = points.shape[1]
    phase = torch.arange(1, d + 1, device=points.device, dtype=torch.float64)
    direction = torch.frac(phase * 0.6180339887498949) + 0.5
    # On the CPU in pieces that stay in its cache.
    rows = len(points) if points.is_cuda else 256
    key = torch.cat([(part.double() * direction).sum(1) for part in points.split(rows)])
    key, order = key.sort()
    new = torch.ones_like(key, dtype=torch.int64)
    new[1:] = (key[1:] != key[:-1]).long()
    return torch.empty_like(new).scatter_(0, order, new.cumsum(0))


class _FewDistances:
    """Squared distances (T, N) of a few of the points to all of them.

    A product with so few rows leaves all but one core of a CPU idle, so there
    the points are cut into pieces that run side by side.
    """

    PIECES = 8

    def __init__(self, points: Tensor, square: Tensor) -> None:
        self.points, self.square, self.pieces = points, square, None
        n, d = points.shape
        if not points.is_cuda and n >= 32 * self.PIECES:
            rest = -n % self.PIECES
            padded = torch.nn.functional.pad(points, (0, 0, 0, rest)) if rest else points
            self.pieces = padded.view(self.PIECES, -1, d).transpose(1, 2)

    def __call__(self, rows: Tensor) -> Tensor:
        chosen, n = self.points.index_select(0, rows), len(self.points)
        if self.pieces is None:
            out = torch.addmm(self.square[None], chosen, self.points.t(), alpha=-2)
        else:
            product = torch.bmm(chosen.expand(self.PIECES, -1, -1), self.pieces)
            product = product.transpose(0, 1).reshape(len(rows), -1)[:, :n]
            out = torch.add(self.square, product, alpha=-2)
        return out.add_(self.square.index_select(0, rows)[:, None])


def _plus_plus(
    points: Tensor, square: Tensor, k: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    n, trials = len(points), 2 + int(math.log(k))
    draws = torch.rand(k, trials, generator=generator, device=points.device, dtype=torch.float64)
    identity, few_distances = _identity(points), _FewDistances(points, square)
    tiny = torch.finfo(points.dtype).tiny
    first = (draws[0, :1] * n).long().clamp_(max=n - 1)
    chosen = first.repeat(k)
    potential = torch.ones(k, device=points.device, dtype=torch.float64)

    def to_nearest(candidates: Tensor) -> Tensor:
        found = few_distances(candidates).clamp_(min=tiny)
        same = identity.index_select(0, candidates)[:, None] == identity
        return found.masked_fill_(same, 0.0)

    nearest = to_nearest(first)[0]  # (N,) distance to the closest centre so far
    for i in range(1, k):
        total = nearest.sum(dtype=torch.float64)
        potential[i] = total
        # Shares as integers: their prefix sum is exact, so the same on every device
        # and in every run, which that of floats on CUDA is not.
        shares = (nearest * (_UNIT / total.clamp(min=tiny))).long()
        cumulated = shares.cumsum(0)
        drawn = (draws[i] * cumulated[-1]).long()
        candidates = torch.searchsorted(cumulated, drawn, right=True)
        distances = to_nearest(candidates.clamp_(max=n - 1))
        torch.minimum(distances, nearest, out=distances)
        # Indexing with a scalar of the device would make the host wait for it.
        best = distances.sum(1).argmin(0, keepdim=True)
        nearest = distances.index_select(0, best)[0]
        chosen[i : i + 1] = candidates.index_select(0, best)
    # Without a distinct point left, the first centre again; it is not alive.
    alive = potential > 0
    return points[torch.where(alive, chosen, first)], alive


def _assign(
    points: Tensor, square: Tensor, centers: Tensor, alive: Tensor
) -> tuple[Tensor, Tensor]:
    distances = _distances(points, square, centers)
    distances.masked_fill_(~alive[:, None], float('inf'))
    nearest, labels = distances.min(0)
    return labels, nearest


def _update(
    points: Tensor, centers: Tensor, alive: Tensor, labels: Tensor, nearest: Tensor
) -> Tensor:
    """Means of the clusters; an empty one moves to a point far from its centre."""
    k = len(centers)
    if points.is_cuda:  # a product sums in a fixed order, atomics do not
        member = torch.nn.functional.one_hot(labels, k).to(points.dtype)
        count, total = member.sum(0), member.t() @ points
    else:
        count = torch.bincount(labels, minlength=k).to(points.dtype)
        total = torch.zeros_like(centers).index_add_(0, labels, points)
    empty = alive & (count == 0)
    far = nearest.topk(min(k, len(points))).indices
    rank = (empty.long().cumsum(0) - 1).clamp_(min=0, max=len(far) - 1)
    means = total / count.clamp(min=1)[:, None]
    means = torch.where(empty[:, None], points[far[rank]], means)
    return torch.where(alive[:, None], means, centers)


def _lloyd(points, square, centers, alive, max_iters, tol, absolute_tol) -> KMeansResult:
    """Iterate until the inertia settles.

    What follows convergence is frozen on the device, so looking at the flag
    every few iterations, and one look behind, changes no result: the host never
    drains the device's queue.
    """
    done = torch.zeros((), dtype=torch.bool, device=points.device)
    inertia = torch.full((), float('inf'), dtype=points.dtype, device=points.device)
    iterations = torch.zeros((), dtype=torch.long, device=points.device)
    labels, nearest = _assign(points, square, centers, alive)
    watch = _LaggingFlag(done.device)
    for i in range(max_iters):
        new_inertia = nearest.sum()
        change = (inertia - new_inertia).abs()
        limit = tol * new_inertia if absolute_tol is None else absolute_tol
        done = done | (change <= limit)
        inertia = new_inertia
        if watch.seen(done, i):
            break
        updated = _update(points, centers, alive, labels, nearest)
        centers = torch.where(done, centers, updated)
        iterations = iterations + (~done).long()
        labels, nearest = _assign(points, square, centers, alive)
    return KMeansResult(labels, centers, alive, nearest.sum(), iterations)


class _LaggingFlag:
    """Reads a device flag without stalling: at once on the CPU, one chunk late on CUDA."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == 'cuda'
        self.pending: tuple[Tensor, torch.cuda.Event] | None = None

    def seen(self, flag: Tensor, iteration: int) -> bool:
        if not self.cuda:
            return bool(flag)
        if (iteration + 1) % _CHUNK:
            return False
        answer = False
        if self.pending is not None:
            host, event = self.pending
            event.synchronize()
            answer = bool(host)
        host = torch.empty((), dtype=torch.bool, pin_memory=True)
        host.copy_(flag, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self.pending = (host, event)
        return answer
