"""K-means as CUDA graphs: hundreds of launches become a few replays."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from .kmeans_solver import KMeansSolver


def capture(function: Callable[[], None]) -> Callable[[], None]:
    """Record what ``function`` launches on the current device; returns the replay.

    The function runs once before, on a stream of its own, so that libraries which initialize
    themselves at their first call do so outside of the graph.

    Raises:
        RuntimeError: Something in it cannot be captured.
    """
    side, stream = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(stream)
    with torch.cuda.stream(side):
        function()
    stream.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # Calls of other threads (pinning of loaded batches, NCCL's watchdog) may go on meanwhile.
    with torch.cuda.graph(graph, capture_error_mode='thread_local'):
        function()
    return graph.replay


class KMeansGraphs:
    """Solvers of :func:`~orl_mm.models.utils.fit_kmeans`, kept and replayed for each size.

    A size is captured at its second call; at its first one, such as that of a last batch, it
    runs without a graph. After a capture that failed all sizes do. Copies of this object are
    empty.

    Args:
        most (int): Sizes that are kept, the most recently used ones. Each holds the memory of
            a clustering.
        capture (callable, optional): See :func:`capture`. None: without graphs.
    """

    def __init__(self, most: int = 4, capture: Callable | None = capture) -> None:
        self.most, self.capture = most, capture
        self._kept: OrderedDict[tuple, ReplayedSolver] = OrderedDict()

    def __reduce__(self) -> tuple:
        return KMeansGraphs, (self.most, self.capture)

    def solver(
        self, points: Tensor, num_clusters: int, tol: float, absolute_tol: float
    ) -> 'ReplayedSolver':
        """The ``KMeansSolver`` for points of this shape, and of these settings."""
        # In-place operators refuse buffers that were made in inference mode.
        key = (*points.shape, points.dtype, points.device, num_clusters, tol, absolute_tol)
        key += (torch.is_inference_mode_enabled(),)
        if key not in self._kept:
            self._kept[key] = ReplayedSolver(
                KMeansSolver(points, num_clusters, tol, absolute_tol), self
            )
        self._kept.move_to_end(key)
        if len(self._kept) > self.most:
            self._kept.popitem(last=False)
        return self._kept[key]


class ReplayedSolver:
    """A ``KMeansSolver`` whose ``seed`` and ``iterate`` are replayed from graphs."""

    def __init__(self, solver: KMeansSolver, graphs: KMeansGraphs) -> None:
        self.solver, self.graphs, self.calls = solver, graphs, 0
        self.inputs: list[Tensor] = []
        self._seed: Callable | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.solver, name)

    def seed(self, *inputs: Tensor) -> None:
        """See ``KMeansSolver``; the inputs are copied to where the graph reads them."""
        self.calls += 1
        if self.calls == 2 and self.graphs.capture:
            self._capture(inputs)
        if self._seed is None:
            self.solver.seed(*inputs)
            return
        for kept, x in zip(self.inputs, inputs, strict=True):
            kept.copy_(x)
        self._seed()

    def iterate(self, steps: int, more: bool = True) -> None:
        """See ``KMeansSolver``; another number of steps than usual runs without a graph."""
        if self._seed is None or steps != self.solver.chunk:
            self.solver.iterate(steps, more)
        else:
            self._iterate()

    def _capture(self, inputs: tuple[Tensor, ...]) -> None:
        assert self.graphs.capture is not None

        def seed() -> None:
            self.inputs = self.inputs or [x.clone() for x in inputs]
            self.solver.seed(*self.inputs)

        try:
            replay = self.graphs.capture(seed)
            self._iterate = self.graphs.capture(lambda: self.solver.iterate(self.solver.chunk))
            self._seed = replay
        except RuntimeError as error:
            self.graphs.capture, self.inputs = None, []
            print_log(f'K-means runs without a CUDA graph: {error}', 'current', logging.WARNING)
