"""From what is measured here to the thesis's runs: 128 GPUs for R2O, 8 for MeDINO.

Nothing here is a measurement of those machines. Every number that enters has a name, a best and
a worst value, a source, and says whether it was measured here or is assumed; all of them can be
changed, and the formulas are the functions below.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Assumption:
    """A number that enters.

    Attributes:
        name (str): For ``--assume NAME=VALUE`` or ``NAME=BEST..WORST``.
        best (float): That which makes a run shorter.
        worst (float): The other end.
        unit (str): Of both.
        source (str): Where it is from.
        measured (bool): On this machine, by this tool; otherwise assumed or quoted.
    """

    name: str
    best: float
    worst: float
    unit: str
    source: str
    measured: bool = False


BUCKET = 25 * 2**20  # bytes: bucket_cap_mb of DistributedDataParallel
# 3 x 2 x 4.09 GMAC: forward and backward of an image of ResNet-50 v1.5, for the quoted rates.
ASSUMED = (
    Assumption(
        'gpu_tflops',
        29.0,
        9.0,
        'TFLOP/s',
        "sustained by a V100, the thesis's GPU: ResNet-50 at 1,200 images/s in mixed "
        'precision, 367 in fp32 (NVIDIA/DeepLearningExamples, '
        'PyTorch/Classification/ConvNets/resnet50v1.5, with large batches) x 24.5 GFLOP',
    ),
    Assumption('kernel_us', 3.0, 10.0, 'us', 'a small kernel of the clustering, launch included'),
    Assumption('norm_us', 30.0, 300.0, 'us', 'one SyncBN exchange between all GPUs: a judgement'),
    Assumption('hop_us', 1.0, 10.0, 'us', 'from one GPU of a ring to the next: a judgement'),
    Assumption(
        'between_gb_s',
        40.0,
        10.0,
        'GB/s',
        'that a ring over 16 nodes passes on: 4 links of 100 Gbit/s a node, or one',
    ),
    Assumption('within_gb_s', 100.0, 10.0, 'GB/s', 'the same within a node: NVLink, or PCIe'),
    Assumption(
        'overlap', 0.8, 0.0, 'share', 'of the all-reduce that hides behind the backward pass'
    ),
    Assumption(
        'cores_per_gpu', 8.0, 5.0, 'cores', "the config's 8 workers; 40 cores of a DGX-1 for 8 GPUs"
    ),
    Assumption('core_speed', 1.0, 1.0, 'x', "a core of the cluster beside this machine's"),
    Assumption('imagenet_images', 1281167, 1281167, 'images', 'ImageNet-1k, train'),
    Assumption('chexpert_images', 191027, 191027, 'images', 'CheXpert, frontal, train'),
    Assumption('r2o_gpus', 128, 128, 'GPUs', 'the thesis; batch 32 each'),
    Assumption('medino_gpus', 8, 8, 'GPUs', "the thesis; its batch of 28 is read as each GPU's"),
)


@dataclass(frozen=True)
class Recipe:
    """A run to carry to, and what was counted of its networks (see :mod:`.carry_count`).

    Attributes:
        key, name (str): Of the row.
        family (str): ``'r2o'`` (between nodes, ImageNet) or ``'medino'`` (one node, CheXpert).
        epochs, batch (int): Of the full config; the batch of a GPU.
        flops (float): Forward and backward, of an image's step: views, target or teacher, x0.
        gradient_bytes (int): Of the trained network in fp32.
        norm_calls (int): Exchanges of SyncBN in a step.
        kmeans_start (tuple): FLOPs of the clustering of a GPU's batch before its first iteration,
            and its launches, one after the other.
        kmeans_each (tuple): The same of an iteration.
        factor (str): Name of the assumption that the networks' time is multiplied by, or empty.
        load (str): Name of the assumption with the processor time of loading an image.
        prepare (tuple): Names of those with the time an image of what is computed once.
    """

    key: str
    name: str
    family: str
    epochs: int
    batch: int
    flops: float
    gradient_bytes: int
    norm_calls: int = 0
    kmeans_start: tuple[float, float] = (0.0, 0.0)
    kmeans_each: tuple[float, float] = (0.0, 0.0)
    factor: str = ''
    load: str = 'load_byol'
    prepare: tuple = ()


def ring_seconds(size: float, gpus: int, gb_s: float, hop_us: float = 0.0) -> float:
    """All-reduce of ``size`` bytes in a ring: each GPU sends 2 (n - 1) / n of them.

    Each bucket of torch's data-parallel wrapper makes 2 (n - 1) hops of its own.
    """
    hops = 2 * (gpus - 1) * math.ceil(size / BUCKET)
    return 2 * (gpus - 1) / gpus * size / (gb_s * 1e9) + hops * hop_us * 1e-6


def steps_of_an_epoch(images: int, gpus: int, batch: int) -> int:
    """As mmengine's sampler shares images out, without the last incomplete batch."""
    return math.ceil(images / gpus) // batch


def kmeans_flops(points: int, dims: int, clusters: int, iterations: float) -> float:
    """Of k-means++ with 2 + floor(ln K) trials and Lloyd's steps (orl_mm/models/utils/kmeans.py).

    Each iteration has two products (distances, sums), and there is one more assignment before.
    """
    start = 1 + (clusters - 1) * (2 + int(math.log(clusters)))
    return 2.0 * points * dims * (start + clusters * (2 * iterations + 1))


def step_terms(recipe: Recipe, values: dict[str, float]) -> dict[str, float]:
    """Seconds of a step of one GPU by cause: ``loading`` runs beside all others."""
    gpus, tflops = int(values[f'{recipe.family}_gpus']), values['gpu_tflops'] * 1e12
    speed = values['between_gb_s' if recipe.family == 'r2o' else 'within_gb_s']
    flops, launches = (
        start + values['kmeans_iterations'] * each
        for start, each in zip(recipe.kmeans_start, recipe.kmeans_each, strict=False)
    )
    return dict(
        networks=recipe.batch * recipe.flops / tflops * values.get(recipe.factor, 1.0),
        clustering=flops / tflops + launches * values['kernel_us'] * 1e-6,
        norms=recipe.norm_calls * values['norm_us'] * 1e-6,
        all_reduce=(1 - values['overlap'])
        * ring_seconds(recipe.gradient_bytes, gpus, speed, values['hop_us']),
        loading=recipe.batch * values[recipe.load] / values['core_speed'] / values['cores_per_gpu'],
    )


def carry(recipe: Recipe, values: dict[str, float]) -> dict[str, Any]:
    """A whole run under one set of values.

    Returns:
        dict: ``terms`` (seconds of a step), ``step``, ``limit`` (the largest cause: the loader
        where it is slower than all others together), ``hours``, ``gpu_hours``,
        ``cores_to_keep_up`` (of a GPU), ``load_core_hours``, ``prepare_core_hours`` (once) and
        ``each_epoch_core_hours`` (were it computed anew each epoch).
    """
    terms = step_terms(recipe, values)
    device = sum(seconds for name, seconds in terms.items() if name != 'loading')
    step = max(device, terms['loading'])
    limit = (
        'loading'
        if terms['loading'] > device
        else max((name for name in terms if name != 'loading'), key=terms.get)
    )
    gpus = int(values[f'{recipe.family}_gpus'])
    images = int(values['imagenet_images' if recipe.family == 'r2o' else 'chexpert_images'])
    steps = recipe.epochs * steps_of_an_epoch(images, gpus, recipe.batch)
    hours, core = steps * step / 3600, values['core_speed'] * 3600
    once = images * sum(values[name] for name in recipe.prepare) / core
    return dict(
        terms=terms,
        step=step,
        limit=limit,
        steps=steps,
        hours=hours,
        gpu_hours=hours * gpus,
        cores_to_keep_up=terms['loading'] * values['cores_per_gpu'] / device,
        load_core_hours=steps * gpus * recipe.batch * values[recipe.load] / core,
        prepare_core_hours=once,
        each_epoch_core_hours=once * recipe.epochs,
    )


def both_ends(recipe: Recipe, assumptions: Iterable[Assumption]) -> dict[str, dict[str, Any]]:
    """The run with all best values, and with all worst ones."""
    assumptions = list(assumptions)
    return {
        end: carry(recipe, {a.name: getattr(a, end) for a in assumptions})
        for end in ('best', 'worst')
    }


def assume(assumptions: Iterable[Assumption], changes: list[str] | None) -> list[Assumption]:
    """Apply ``NAME=VALUE`` or ``NAME=BEST..WORST``.

    Raises:
        ValueError: A name that is none, with those that are; a value that is no finite number,
            is negative, or is zero where one divides by it.
    """
    found = {a.name: a for a in assumptions}
    for change in changes or []:
        name, equals, text = change.partition('=')
        if name not in found:
            raise ValueError(f'there is no assumption {name!r}; there are {", ".join(found)}')
        try:
            ends = [float(part) for part in text.split('..')]
        except ValueError:
            ends = []
        if not equals or len(ends) not in (1, 2) or not all(map(math.isfinite, ends)):
            raise ValueError(f'--assume takes {name}=VALUE or {name}=BEST..WORST, got {change!r}')
        divides = name != 'overlap' and found[name].unit not in ('s', 'us')
        if min(ends) < 0 or (divides and min(ends) == 0) or (name == 'overlap' and max(ends) > 1):
            legal = 'between 0 and 1' if name == 'overlap' else 'positive' if divides else '>= 0'
            raise ValueError(f'{name} must be {legal}, got {text}')
        found[name] = replace(
            found[name], best=ends[0], worst=ends[-1], measured=False, source='--assume'
        )
    return list(found.values())
