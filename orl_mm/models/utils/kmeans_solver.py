"""The steps of K-means on buffers of fixed size, without a loop over clusters."""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

# Lloyd iterations between two looks of the host at what the device has found.
_CHUNK = 3
# Largest table of the distances between all points; above it they are computed when needed.
_TABLE_BYTES = 2**29
# Larger than all squared distances, and smaller than all weights of one point.
_FAR, _NEAR = 1e30, 2.0**-40
# Pieces of the points, for products with a few of them on a CPU.
_PIECES = 8
# Of two steps of k-means++ the first one decides, unless potentials are equal to 8 digits.
_FIRST = 2.0**26


class KMeansResult(NamedTuple):
    """N points, D axes, K clusters asked for."""

    labels: Tensor  # (N,) int64, index into centers
    centers: Tensor  # (K, D); rows that are not alive mean nothing
    alive: Tensor  # (K,) bool: False once the distinct points ran out
    inertia: Tensor  # scalar: sum of squared distances to the nearest center, a bit rounded up
    iterations: int  # of Lloyd


class KMeansSolver:
    """The buffers of one K-means and the operators on them.

    All shapes follow from the arguments and no value is read back, so :meth:`seed` and
    :meth:`iterate` can be replayed as CUDA graphs. Sums are made in a fixed order.

    Args:
        points (Tensor): (N, D), only for shape, dtype and device.
        num_clusters (int): K.
        tol, absolute_tol (float): Stop once the inertia falls by no more than
            ``tol * inertia + absolute_tol``.
        chunk (int, optional): Iterations of one call of :meth:`iterate`.
        table (bool, optional): Compute the distances between all points at once. This is
            a waste of time on a CPU, but takes one launch on a GPU, where launches are what
            k-means++ takes time for. Default: on a GPU, if the table is small enough.
    """

    def __init__(
        self,
        points: Tensor,
        num_clusters: int,
        tol: float = 0.0,
        absolute_tol: float = 0.0,
        chunk: int | None = None,
        table: bool | None = None,
    ) -> None:
        (n, d), k = points.shape, num_clusters
        if table is None:
            table = points.is_cuda and n * n * points.element_size() <= _TABLE_BYTES
        self.chunk = chunk or (_CHUNK if points.is_cuda else 1)
        self.trials, self.lookahead = 2 + int(math.log(k)), 2 if table else 1
        rounds = -(-k // self.lookahead)
        self.noise_shape = (rounds * self.lookahead, self.trials, n)
        self.table = points.new_empty(n, n) if table else None
        # A row for each point: -|p|^2 / 2, p, and 1, or 0 if it is not valid. Rows of zeros at
        # the end make it divisible.
        self._padded = points.new_zeros(n + -n % _PIECES, d + 2)
        self.rows = self._padded[:n]
        self.vectors, self.square = self.rows[:, 1:-1], points.new_empty(n)
        self.middle, self.key = points.new_empty(d), points.new_empty(n, dtype=torch.float64)
        self.direction = _direction(d, str(points.device))
        self.piece = n if points.is_cuda else 256  # rows that stay in a CPU's cache

        paths = self.trials**self.lookahead
        self.paths = points.new_empty(paths, self.lookahead, n, dtype=torch.float64)
        self.importance = points.new_ones(self.lookahead, n, dtype=torch.float64)
        if table:
            self.importance[0].fill_(_FIRST)
        self.waits = points.new_empty(rounds, paths, self.lookahead, dtype=torch.float64)
        self.drawn = points.new_empty(rounds, paths, self.lookahead, dtype=torch.int64)
        self.best = points.new_empty(rounds, 1, dtype=torch.int64)

        self.seeds, self.dead = points.new_ones(k, d + 1), points.new_empty(k)
        self.ids, self.member = torch.arange(k, device=points.device), points.new_empty(n, k)
        self.labels = points.new_empty(self.chunk, n, dtype=torch.int64)
        self.scores = points.new_empty(self.chunk, n)
        # A row for each iteration: K times (1, center, -|center|^2 / 2), then the inertia of
        # the iteration before, and the largest one before that it would stop at.
        self.trail = points.new_ones(self.chunk + 1, k * (d + 2) + 2)
        self.inertia = self.trail[:, -2:]
        self.centers = self.trail[:, :-2].view(self.chunk + 1, k, d + 2)
        self.to_inertia = points.new_full((n, 2), -2.0)
        self.to_inertia[:, 1] *= 1 + tol
        self.slack = points.new_zeros(2)
        self.slack[1:].fill_(absolute_tol)
        self.settled = points.new_full((self.chunk + 1,), 0.5)
        self.stop = points.new_empty(1, dtype=torch.int64)

    def seed(self, points: Tensor, valid: Tensor, noise: Tensor) -> None:
        """k-means++.

        Args:
            points (Tensor): (N, D).
            valid (Tensor): (N,) 1 or 0.
            noise (Tensor): ``noise_shape``, logarithms of uniform numbers in [0, 1).
        """
        # About their mean the expanded squares below lose the fewest digits.
        torch.mean(points, 0, out=self.middle)
        torch.addcmul(points, valid[:, None], self.middle, value=-1, out=self.vectors)
        self.rows[:, -1] = valid
        p = self.vectors
        torch.sum(p * p, 1, out=self.square)
        # Rounded up: an inertia that is negative by rounding would never settle.
        torch.mul(self.square, -0.5 - 8 * torch.finfo(p.dtype).eps, out=self.rows[:, 0])
        # A product with the points for CUDA, a sum over them by clusters for CPUs, see _sums.
        self.summands = self.rows[:, 1:] if p.is_cuda else self.rows[:, 1:].contiguous()
        # Equal exactly where points are equal, up to collisions of probability 2^-52 a pair.
        # The expanded square cannot tell a copy from a close neighbor.
        for part, key in zip(p.split(self.piece), self.key.split(self.piece), strict=True):
            torch.sum(part * self.direction, 1, out=key)
        if self.table is not None:
            torch.addmm(self.square, p, p.t(), alpha=-2, out=self.table)
            self._to_distances(self.table, self.square, self.key)

        nearest = torch.mul(valid[None], _FAR, out=self.paths.new_empty(1, len(valid)))
        # The first center is one uniform draw: all trials are the same.
        draws = [noise[0, :1].expand(self.trials, -1), *noise[1:].unbind()]
        for i in range(len(self.best)):
            nearest = self._seed_round(i, nearest, draws[i * self.lookahead :][: self.lookahead])

        best = self.best[..., None].expand(-1, -1, self.lookahead)
        chosen = self.drawn.gather(1, best).flatten()[: len(self.dead)]
        wait = self.waits.gather(1, best).flatten()[: len(self.dead)]
        torch.eq(wait, -math.inf, out=self.dead)
        torch.index_select(p, 0, chosen, out=self.seeds[:, :-1])
        self.centers[0, :, 1:-1] = self.seeds[:, :-1]
        self.inertia[0].fill_(math.inf)

    def _seed_round(self, i: int, nearest: Tensor, noise: list[Tensor]) -> Tensor:
        """One or two steps of k-means++.

        A step draws T points in proportion to their squared distance to the nearest center,
        and keeps the one that leaves the smallest sum of these distances (potential). The
        draw is a race: the point with the largest log(u) / distance wins, u uniform. Two steps are
        done as one by drawing the second one after each possible result of the first: T * T
        paths, of which the best one is taken by the potential of its first step, then its
        second. This gives the result of two single steps with 11 operators in place of 14.

        Args:
            i (int): Number of the round.
            nearest (Tensor): (1, N) squared distances.
            noise (list): (T, N) for each step.

        Returns:
            Tensor: ``nearest`` after the round.
        """
        t, n = noise[0].shape
        for step, draws in enumerate(noise):
            # Paths are counted as (before, T, after) of this step.
            before, after = t**step, t ** (self.lookahead - 1 - step)
            shape = (before, t, after)
            race = (draws / nearest[:, None]).unsqueeze(2).expand(*shape, n)
            wait, drawn = (x[i, :, step].view(shape) for x in (self.waits, self.drawn))
            torch.max(race, 3, out=(wait, drawn))
            distances = self._distances(drawn[:, :, 0].flatten()).view(before, t, 1, n)
            closer = self.paths[:, step].view(*shape, n)
            torch.minimum(distances.expand(*shape, n), nearest[:, None, None], out=closer)
            nearest = closer[:, :, 0].flatten(0, 1)
        potential = self.paths.flatten(1) @ self.importance.flatten()
        torch.argmin(potential, 0, keepdim=True, out=self.best[i])
        return self.paths[:, -1].index_select(0, self.best[i])

    def _distances(self, chosen: Tensor) -> Tensor:
        """Squared distances of some points to all (..., N); 0 to copies alone."""
        if self.table is not None:
            return self.table.index_select(0, chosen)
        p = self.vectors.index_select(0, chosen)
        if p.is_cuda:
            product = p @ self.vectors.t()
        else:
            # A product with so few rows leaves all but one core of a CPU idle, so
            # the points are cut into pieces that run side by side.
            pieces = self._padded[:, 1:-1].unflatten(0, (_PIECES, -1)).transpose(1, 2)
            product = torch.bmm(p.expand(_PIECES, -1, -1), pieces)
            product = product.transpose(0, 1).flatten(1)[:, : len(self.rows)]
        out = torch.sub(self.square, product, alpha=2)
        square, key = (x.index_select(0, chosen) for x in (self.square, self.key))
        return self._to_distances(out, square, key)

    def _to_distances(self, out: Tensor, square: Tensor, key: Tensor) -> Tensor:
        out.add_(square[:, None]).clamp_(min=torch.finfo(out.dtype).tiny)
        return out.masked_fill_(key[:, None] == self.key, 0.0)

    def iterate(self, steps: int, more: bool = True) -> None:
        """Lloyd's iterations: ``steps`` times assign, update.

        :attr:`stop` becomes the number of updates after which the inertia settled, or
        ``steps``. The next call continues from there; where the inertia has settled it finds
        the same again. So calls after the last necessary one change nothing.

        Args:
            steps (int): At most ``chunk``.
            more (bool): There will be another call.
        """
        for step in range(steps):
            centers = self.centers[step]
            c, minus_half_square = centers[:, 1:-1], centers[:, -1:, None]
            torch.baddbmm(
                self.dead[:, None, None],
                c[:, None],
                c[:, :, None],
                beta=-_FAR,
                alpha=-0.5,
                out=minus_half_square,
            )
            score = self.rows @ centers.t()  # - (distance)^2 / 2
            torch.max(score, 1, out=(self.scores[step], self.labels[step]))
            total = self._sums(self.labels[step])
            torch.div(total[:, :-1], total[:, -1:], out=self.centers[step + 1, :, 1:-1])
        inertia, settled = self.inertia[: steps + 1], self.settled[self.chunk - steps :]
        torch.addmm(self.slack, self.scores[:steps], self.to_inertia, out=inertia[1:])
        torch.le(inertia[:-1, 0], inertia[1:, 1], out=settled[:-1])
        torch.argmax(settled, 0, keepdim=True, out=self.stop)
        if more:
            self.trail[:1] = self.trail.index_select(0, self.stop)

    def _sums(self, labels: Tensor) -> Tensor:
        """(K, D + 1): the sums of the points of each cluster, and how many they are.

        A cluster without points gets its first center, one of the points.
        """
        if labels.is_cuda:  # a product sums in a fixed order, atomics do not
            member = torch.eq(labels[:, None], self.ids, out=self.member)
            return torch.addmm(self.seeds, member.t(), self.summands, beta=_NEAR)
        return (_NEAR * self.seeds).index_add_(0, labels, self.summands)

    def result(self, last: Tensor, iterations: int) -> KMeansResult:
        """Copies of what was found by step ``last`` (1,) of the last :meth:`iterate`."""
        centers = self.centers.index_select(0, last)[0, :, 1:-1]
        labels = self.labels.index_select(0, last)[0]
        inertia = self.inertia[1:].index_select(0, last)[0, 0]
        return KMeansResult(labels, centers + self.middle, self.dead == 0, inertia, iterations)


@lru_cache(maxsize=8)
def _direction(d: int, device: str) -> Tensor:
    """(D,) numbers in [0.5, 1.5) without a pattern; drawn from no generator."""
    phase = torch.arange(1, d + 1, device=device, dtype=torch.float64)
    return torch.frac(phase * 0.6180339887498949) + 0.5
