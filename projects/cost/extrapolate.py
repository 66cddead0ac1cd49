"""What the thesis's own runs would take: R2O on 128 GPUs, MeDINO on 8; see ``cost.py``.

In assumptions.csv each value has a best end, which makes a run shorter, and a worst one; a
dotted name there is a value of cost.json.
"""

import csv
import math
import sys
from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from orl_mm.tables.markdown import markdown_table  # noqa: E402  (of this checkout)

BUCKET = 25 * 2**20  # bytes: bucket_cap_mb of DistributedDataParallel
DIMS, CLUSTERS = 1024, 64  # C4 of a ResNet-50, and the thesis's K
TERMS = ('networks', 'K-means', 'SyncBN', 'all-reduce', 'loading, in parallel')


class Run(NamedTuple):
    """A full-size run: the name of its row; ``'r2o'`` (several nodes, ImageNet) or ``'medino'``
    (one node, CheXpert); keys of the counts of its step, of loading an image, and of what is
    computed once; whether ``AttentionRegHook`` is on."""

    name: str
    family: str
    counts: str
    load: str
    once: str = ''
    guided: bool = False


RUNS = (
    Run('BYOL', 'r2o', 'byol', 'byol'),
    Run('R2O, superpixels once', 'r2o', 'r2o', 'r2o', 'superpixels'),
    Run('R2O, superpixels each epoch', 'r2o', 'r2o', 'r2o_anew'),
    Run('DINO, generic augmentation, 10 crops', 'medino', 'dino', 'dino'),
    Run('DINO, chest augmentation, 2 crops', 'medino', 'medino', 'dino_chest'),
    Run('MeDINO, deformable', 'medino', 'medino', 'medino', 'registration', True),
)
BASES = dict(r2o=RUNS[0], medino=RUNS[4])


def ring_seconds(size: float, gpus: int, gb_s: float, hop_us: float = 0.0) -> float:
    """All-reduce of ``size`` bytes in a ring: each GPU sends 2 (n - 1) / n of them.

    Each bucket of DistributedDataParallel makes 2 (n - 1) hops of its own.
    """
    hops = 2 * (gpus - 1) * math.ceil(size / BUCKET)
    return 2 * (gpus - 1) / gpus * size / (gb_s * 1e9) + hops * hop_us * 1e-6


def kmeans_flops(points: int, iterations: float, dims: int = DIMS, k: int = CLUSTERS) -> float:
    """Products of k-means++ with 2 + floor(ln K) trials, and of Lloyd's iterations.

    Each iteration has two (distances, sums), and one more assignment comes before them.
    """
    start = 1 + (k - 1) * (2 + int(math.log(k)))
    return 2.0 * points * dims * (start + k * (2 * iterations + 1))


def extrapolate(run: Run, inputs: dict[str, Any], values: dict[str, float]) -> dict[str, Any]:
    """A whole run under one set of values.

    Args:
        run (Run): Which.
        inputs (dict): Measured ``counts``.
        values (dict): Of all assumptions.

    Returns:
        dict: ``terms``, seconds of a step by cause in the order of :data:`TERMS`; ``step``, the
        longer of loading and all others, and ``limit``, its largest cause; ``steps``, ``hours``,
        ``gpu_hours``; ``cores``, which a GPU's loading needs to keep up; core-hours of loading
        (``load_hours``) and of what is computed once (``once_hours``).
    """
    count = inputs['counts'][run.counts]
    batch, flop_s = count['batch'], values['gpu_tflops'] * 1e12
    gpus = int(values[f'{run.family}_gpus'])
    images = int(values['imagenet_images' if run.family == 'r2o' else 'chexpert_images'])
    kmeans, iterations = 0.0, values['kmeans_iterations']
    if 'superpixels' in count:
        kmeans = kmeans_flops(round(batch * count['superpixels']), iterations) / flop_s
        kernels = values['kmeans_launches'] + iterations * values['iteration_launches']
        kmeans += kernels * values['kernel_us'] * 1e-6
    gb_s = values['between_gb_s' if run.family == 'r2o' else 'within_gb_s']
    ring = ring_seconds(count['gradient_bytes'], gpus, gb_s, values['hop_us'])
    load = values[f'load_{run.load}'] / values['core_speed']
    flops = batch * (count['forward'] + count['backward'])
    terms = (
        flops / flop_s * (values['guiding'] if run.guided else 1.0),
        kmeans,
        count['norm_calls'] * values['norm_us'] * 1e-6,
        (1 - values['overlap']) * ring,
        batch * load / values['cores_per_gpu'],
    )
    *device, loading = terms
    # mmengine's sampler shares the images out; the last incomplete batch is dropped.
    steps = count['epochs'] * (math.ceil(images / gpus) // batch)
    step = max(sum(device), loading)
    limit = terms.index(loading if loading > sum(device) else max(device))
    hours = steps * step / 3600
    once = values[run.once] / values['core_speed'] if run.once else 0.0
    return dict(
        terms=terms,
        step=step,
        limit=TERMS[limit].split(',')[0],
        steps=steps,
        hours=hours,
        gpu_hours=hours * gpus,
        cores=batch * load / sum(device),
        load_hours=steps * gpus * batch * load / 3600,
        once_hours=images * once / 3600,
    )


def read_assumptions(found: dict[str, Any], changes: list[str]) -> dict[str, dict[str, Any]]:
    """The rows of assumptions.csv by name, with numbers for ``best`` and ``worst``.

    Args:
        found (dict): The measurements.
        changes (list): ``NAME=VALUE`` or ``NAME=BEST..WORST``.

    Raises:
        ValueError: An unknown name, or a value that is not a number in its range.
    """
    with open(HERE / 'assumptions.csv', encoding='utf-8', newline='') as file:
        rows: dict[str, dict[str, Any]] = {row['name']: row for row in csv.DictReader(file)}
    for row in rows.values():
        row['measured'] = row['best'] == row['worst'] and not row['best'][0].isdigit()
        for end in ('best', 'worst'):
            if not row[end][0].isdigit():
                row[end] = reduce(dict.__getitem__, row[end].split('.'), found)
            row[end] = float(row[end])
    for change in changes:
        name, _, text = change.partition('=')
        if name not in rows:
            raise ValueError(f'there is no assumption {name!r}; there are {", ".join(rows)}')
        try:
            best, worst = map(float, text.split('..') if '..' in text else [text] * 2)
        except ValueError:
            raise ValueError(f'expected {name}=VALUE or {name}=BEST..WORST, got {change}') from None
        low, high = dict(overlap=(0, 1)).get(name, (1e-12, 1e12))
        if not (low <= best <= high and low <= worst <= high):
            raise ValueError(f'{name} must be {"in [0, 1]" if high == 1 else "positive"}: {change}')
        rows[name].update(best=best, worst=worst, measured=False, source='--assume')
    return rows


def span(ends: Iterable[float]) -> str:
    """``best to worst``, with two or three digits."""

    def short(value: float) -> str:
        digits = 0 if value >= 100 else 1 if value >= 1 or value == 0 else 2
        return f'{value:,.{digits}f}'

    return ' to '.join(dict.fromkeys(map(short, ends)))


def origin(found: dict[str, Any]) -> str:
    """When, where and how something was measured."""
    return 'Measured {date}, {machine}. Command: {command}'.format(**found)


def extrapolation_page(found: dict[str, Any], assumptions: dict[str, dict[str, Any]]) -> str:
    """The runs, their steps by cause, and all assumptions."""
    inputs = found['inputs']
    ends = [{name: row[end] for name, row in assumptions.items()} for end in ('best', 'worst')]
    runs = {run: [extrapolate(run, inputs, values) for values in ends] for run in RUNS}
    hours, steps, notes, flops = [], [], [], []
    for run, both in runs.items():
        base, count = BASES[run.family], inputs['counts'][run.counts]
        ratios = [f'{a["hours"] / b["hours"]:.2f}' for a, b in zip(both, runs[base], strict=True)]
        spans = {key: span(end[key] for end in both) for key in both[0] if key.endswith('hours')}
        flops.append(count['forward'] + count['backward'])
        hours.append(
            {
                'run': run.name,
                'hours': spans['hours'],
                'GPU-hours': spans['gpu_hours'],
                'ratio to its base': '1' if run == base else ' to '.join(ratios),
                'core-hours of loading': spans['load_hours'],
                'cores per GPU to keep up': span(end['cores'] for end in both),
                'core-hours, once': spans['once_hours'] if run.once else '',
                'bottleneck': '; at worst '.join(dict.fromkeys(end['limit'] for end in both)),
            }
        )
        causes = zip(*(end['terms'] for end in both), strict=True)
        spent = [span(1000 * value for value in term) for term in causes]
        steps.append(
            {
                'run': run.name,
                'steps': f'{both[0]["steps"]:,}',
                **dict(zip(TERMS, spent, strict=True)),
                'GFLOP per image': f'{flops[-1] / 1e9:.1f}',
                'gradient, MB': f'{count["gradient_bytes"] / 1e6:.0f}',
                'SyncBN exchanges': count['norm_calls'],
            }
        )
        if run.once:
            each = both[0]['once_hours'] * count['epochs']
            notes.append(
                f'{run.name}: {run.once} in each of {count["epochs"]} epochs instead of once: '
                f'{each:,.0f} core-hours.'
            )
    entries = [
        {
            'name': f'`{row["name"]}`',
            **{e: f'{row[e]:.4g}' if row[e] < 1e5 else f'{row[e]:,.0f}' for e in ('best', 'worst')},
            'unit': row['unit'],
            'measured here': 'yes' if row['measured'] else 'no',
            'source': row['source'],
        }
        for row in assumptions.values()
    ]
    parts = [
        "## The thesis's runs, extrapolated",
        'From best to worst: with all favorable values together, and with all unfavorable ones. '
        'None of this was run.',
        markdown_table(hours),
        'Base: BYOL for R2O, DINO on the same two crops for MeDINO.',
        '## Milliseconds of a step of one GPU',
        markdown_table(steps),
        *notes,
        f"By FLOPs, R2O takes {flops[1] / flops[0]:.2f} times BYOL's.",
        '## Assumptions',
        '`--assume NAME=VALUE` or `NAME=BEST..WORST` changes a value.',
        markdown_table(entries),
        origin(inputs),
    ]
    return '\n\n'.join(parts) + '\n'
