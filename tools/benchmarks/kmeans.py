"""K-means against scikit-learn's and against the published loop: time, inertia, host waits."""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import mean

import torch
import torch.nn.functional as F
from torch import Tensor

from orl_mm.models.utils import fit_kmeans

from .reference.r2o import published_kmeans
from .timing import Report, host_waits
from .training import build_model, make_batch


def run(args: argparse.Namespace) -> Report:
    """3200 points of 1024 axes, K = 64 (``--quick``: 300 x 32, K = 8)."""
    quick, device = args.quick, args.device
    n, d, k = (300, 32, 8) if quick else (3200, 1024, 64)
    seeds = args.rounds or (2 if quick else 7)
    report = Report('kmeans', args, points=n, axes=d, clusters=k, seeds=seeds)
    clouds = dict(gaussians=gaussians(n, d, k), features=features(n, d, quick, args.images))
    for name, points in clouds.items():
        compare(report, name, points.to(device), k, seeds)
    if device == 'cuda':
        add_host_waits(report, clouds['gaussians'].cuda())
    return report


def gaussians(n: int, d: int, k: int) -> Tensor:
    """Unit vectors (N, D) around 2 K directions, so that K is never exactly right."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2 * k, d, generator=generator)
    which = torch.randint(2 * k, (n,), generator=generator)
    return F.normalize(directions[which] + torch.randn(n, d, generator=generator), dim=1)


@torch.no_grad()
def features(n: int, d: int, quick: bool, images: str | None) -> Tensor:
    """Unit vectors (N, D) of superpixels in a ResNet with random weights, as R2O's first step."""
    inputs, batch, _ = make_batch(*((4, 64, 100) if quick else (32, 224, 145)), images)
    model = build_model(depth=18 if quick else 50)
    chunks = [
        model.refiner._features(model.target['backbone'], x, False) for x in inputs[2].split(8)
    ]
    return model.refiner._points(torch.cat(chunks).float(), batch)[0][:n, :d].contiguous()


def compare(report: Report, name: str, points: Tensor, k: int, seeds: int) -> None:
    """Time and inertia of the three, each with seeds 0, 1, 2 ..."""
    from sklearn.cluster import KMeans

    array, device = points.cpu().numpy(), report.device

    def sklearn(seed: int) -> tuple[Tensor, int]:
        fit = KMeans(k, init='k-means++', n_init=1, max_iter=200, random_state=seed).fit(array)
        return torch.from_numpy(fit.labels_).long(), fit.n_iter_

    def published(seed: int) -> tuple[Tensor, int]:
        labels, _, iterations = published_kmeans(
            points, k, torch.Generator(device).manual_seed(seed)
        )
        return labels, iterations

    def ours(seed: int) -> tuple[Tensor, int]:
        found = fit_kmeans(points, k, torch.Generator(device).manual_seed(seed))
        return found.labels, int(found.iterations)

    functions = {'ours': ours, 'scikit-learn': sklearn, 'published': published}
    results: dict[str, list] = {side: [] for side in functions}

    def next_seed(function: Callable[[int], tuple], found: list) -> None:
        found.append(function(len(found)))

    sides = {side: partial(next_seed, f, results[side]) for side, f in functions.items()}
    seconds = report.time(sides, seeds)
    double = points.cpu().double()
    inertia = {
        s: [exact_inertia(double, x.cpu()) for x, _ in found] for s, found in results.items()
    }
    steps = {side: [count for _, count in found] for side, found in results.items()}
    for other, speed, quality in (('scikit-learn', 1.0, 1.02), ('published', None, None)):
        report.ratio(
            f'time, ours / {other}: {name}',
            seconds,
            'ours',
            other,
            note=f'{tuple(points.shape)}, K {k}: ',
            target=speed if device == 'cpu' else None,
        )
        report.add(
            f'inertia, ours / {other}: {name}',
            mean(inertia['ours']) / mean(inertia[other]),
            target=quality,
            note=f'means of {len(inertia[other])} seeds; iterations '
            f'{mean(steps["ours"]):.1f} / {mean(steps[other]):.1f}',
        )
    report.details[name] = dict(seconds=seconds, inertia=inertia, iterations=steps)


def exact_inertia(points: Tensor, labels: Tensor) -> float:
    """Sum of squared distances to the means of the clusters, in float64."""
    k = int(labels.max()) + 1
    count = torch.bincount(labels, minlength=k).clamp(min=1).double()
    means = torch.zeros(k, points.shape[1], dtype=torch.double).index_add_(0, labels, points)
    return float((points - (means / count[:, None])[labels]).square().sum())


def add_host_waits(report: Report, points: Tensor, iterations: int = 20) -> None:
    """Waits of the host for the device in one call, at two K and equally many iterations."""
    counts = {}
    for k in (8, 128):
        # A negative tolerance is never reached: all iterations run.
        generator = torch.Generator('cuda')
        fit = partial(fit_kmeans, points, k, generator, max_iters=iterations, absolute_tol=-1.0)
        counts[k] = host_waits(fit)
    report.details['host_waits'] = {str(k): count for k, count in counts.items()}
    report.add(
        'host waits a call, K = 128 minus K = 8',
        counts[128] - counts[8],
        unit='waits',
        target=0.0,
        note=f'{counts[128]} and {counts[8]} in {iterations} Lloyd iterations',
    )
