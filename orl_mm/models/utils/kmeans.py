"""K-means on a mini-batch of vectors, without waiting for the device, and with shapes that do
not depend on the data.

k-means++ (Arthur and Vassilvitskii 2007) with 2 + floor(ln K) local trials, as
scikit-learn and the public R2O code start, then Lloyd's iterations under the
squared Euclidean distance (projects/r2o/README.md, rows 14 and 15).
"""

import torch
from torch import Tensor

from .kmeans_graphs import KMeansGraphs, ReplayedSolver
from .kmeans_solver import KMeansResult, KMeansSolver


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
    valid: Tensor | None = None,
    graphs: KMeansGraphs | None = None,
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
        valid (Tensor, optional): (N,) 1 for a point, 0 for a row of zeros that only fills
            the shape. Its label means nothing.
        graphs (KMeansGraphs, optional): Keeps CUDA graphs between calls.

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
    valid = points.new_ones(len(points)) if valid is None else valid.to(points.dtype)
    if absolute_tol is not None:
        tol = 0.0
    make = KMeansSolver if graphs is None else graphs.solver
    solver: KMeansSolver | ReplayedSolver = make(points, num_clusters, tol, absolute_tol or 0.0)
    noise = torch.rand(
        solver.noise_shape, generator=generator, dtype=points.dtype, device=points.device
    )
    solver.seed(points, valid, noise.log_())
    look, iterations, left = _DelayedLook(points.device), 0, max_iters + 1
    while left:
        steps = min(solver.chunk, left)
        left -= steps
        solver.iterate(steps, left > 0)
        seen = look(solver.stop)
        iterations += seen or 0
        if seen is not None and seen < steps:
            return solver.result(solver.stop.clamp(max=steps - 1), iterations)
    return solver.result(solver.stop.clamp(max=steps - 1), max_iters)


class _DelayedLook:
    """Reads a number from the device: at once on a CPU, that of the call before on CUDA.

    So the device always has a chunk of iterations to do and the host does not stall it.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == 'cuda'
        self.pending: tuple[Tensor, torch.cuda.Event] | None = None

    def __call__(self, number: Tensor) -> int | None:
        """The number; None where it is not known yet."""
        if not self.cuda:
            return int(number)
        before, host = self.pending, torch.empty(1, dtype=number.dtype, pin_memory=True)
        host.copy_(number, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self.pending = host, event
        if before is None:
            return None
        before[1].synchronize()
        return int(before[0])
