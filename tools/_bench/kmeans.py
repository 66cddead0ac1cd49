"""K-means against scikit-learn and against the published loop: time, inertia, host syncs."""

import argparse
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from orl_mm.models.utils import fit_kmeans

from .batches import make_batch
from .clock import interleave, median, spread
from .published_kmeans import published_kmeans
from .report import Report
from .waits import host_waits


def run(args: argparse.Namespace) -> Report:
    """3200 x 1024, K = 64 (``--quick``: 300 x 32, K = 8)."""
    quick, device = args.quick, args.device
    n, d, k = (300, 32, 8) if quick else (3200, 1024, 64)
    seeds = args.rounds or (2 if quick else 7)
    report = Report('kmeans', dict(points=n, axes=d, clusters=k, seeds=seeds, device=device))
    data = dict(gaussians=gaussians(n, d, k))
    data['features'] = features(n, d, quick, args)
    for name, points in data.items():
        _compare(report, name, points.to(device), k, seeds, device)
    if device == 'cuda':
        _host_waits(report, data['gaussians'].cuda())
    return report


def gaussians(n: int, d: int, k: int) -> Tensor:
    """Unit vectors (N, D) around 2 K directions, so that K is never exactly right."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2 * k, d, generator=generator)
    which = torch.randint(2 * k, (n,), generator=generator)
    return F.normalize(directions[which] + torch.randn(n, d, generator=generator), dim=1)


@torch.no_grad()
def features(n: int, d: int, quick: bool, args: argparse.Namespace) -> Tensor:
    """Unit vectors (N, D) of superpixels in a ResNet with random weights, as R2O's first step."""
    from .steps import build_model

    inputs, batch, _ = make_batch(*((4, 64, 100) if quick else (32, 224, 145)), folder=args.images)
    model = build_model(18 if quick else 50)
    chunks = [
        model.refiner._features(model.target['backbone'], x, False) for x in inputs[2].split(8)
    ]
    points, _, _ = model.refiner._points(torch.cat(chunks).float(), batch)
    return points[:n, :d].contiguous()


def _compare(report: Report, name: str, points: Tensor, k: int, seeds: int, device: str) -> None:
    found = {side: [] for side in ('ours', 'scikit-learn', 'published')}
    seconds = interleave(
        {
            side: _next_seed(function, found[side])
            for side, function in _sides(points, k, device).items()
        },
        seeds,
        1,
        device,
    )
    double = points.cpu().double()
    inertia = {
        side: [exact_inertia(double, labels.cpu()) for labels, _ in results]
        for side, results in found.items()
    }
    rounds = {side: [int(count) for _, count in results] for side, results in found.items()}
    shape = f'{name} {tuple(points.shape)}, K {k}'
    for other, target in (('scikit-learn', 1.0), ('published', None)):
        a, b = seconds['ours'], seconds[other]
        report.add(
            f'time, ours / {other}: {name}',
            median(a) / median(b),
            target=target if device == 'cpu' else None,
            note=f'{shape}: {1e3 * median(a):.1f} ms / {1e3 * median(b):.1f} ms, '
            f'pairs {spread(a, b)}',
        )
    for other, target in (('scikit-learn', 1.02), ('published', None)):
        report.add(
            f'inertia, ours / {other}: {name}',
            statistics.mean(inertia['ours']) / statistics.mean(inertia[other]),
            target=target,
            note=f'means of {len(inertia[other])} seeds; iterations '
            f'{statistics.mean(rounds["ours"]):.1f} / {statistics.mean(rounds[other]):.1f}',
        )
    report.details[name] = dict(seconds=seconds, inertia=inertia, iterations=rounds)


def _sides(points: Tensor, k: int, device: str) -> dict[str, Callable]:
    """Functions of a seed that return labels and iterations."""
    from sklearn.cluster import KMeans

    array = points.cpu().numpy()

    def generator(seed):
        return torch.Generator(device).manual_seed(seed)

    def sklearn(seed):
        fit = KMeans(k, init='k-means++', n_init=1, max_iter=200, random_state=seed).fit(array)
        return torch.from_numpy(fit.labels_).long(), fit.n_iter_

    def published(seed):
        labels, _, iterations = published_kmeans(points, k, generator(seed))
        return labels, iterations

    def ours(seed):
        found = fit_kmeans(points, k, generator(seed))
        return found.labels, found.iterations

    return {'ours': ours, 'scikit-learn': sklearn, 'published': published}


def _next_seed(function: Callable[[int], tuple], found: list) -> Callable[[], None]:
    """Calls with seeds 0, 1, 2 ... whose results are kept."""
    return lambda: found.append(function(len(found)))


def exact_inertia(points: Tensor, labels: Tensor) -> float:
    """Sum of squared distances to the means of the clusters, in float64."""
    k = int(labels.max()) + 1
    count = torch.bincount(labels, minlength=k).clamp(min=1).double()
    means = torch.zeros(k, points.shape[1], dtype=torch.double).index_add_(0, labels, points)
    return float((points - (means / count[:, None])[labels]).square().sum())


def _host_waits(report: Report, points: Tensor, iterations: int = 20) -> None:
    """Waits of the host for the device in one call, at two K and equal iterations."""
    # A tolerance below zero is never met: all iterations run.
    arguments = dict(max_iters=iterations, absolute_tol=-1.0)
    counts = {
        k: host_waits(lambda k=k: fit_kmeans(points, k, torch.Generator('cuda'), **arguments))
        for k in (8, 128)
    }
    report.details['host_waits'] = {str(k): count for k, count in counts.items()}
    report.add(
        'host waits a call, K = 128 minus K = 8',
        counts[128] - counts[8],
        unit='waits',
        target=0.0,
        note=f'{counts[128]} and {counts[8]} in {iterations} Lloyd iterations',
    )
