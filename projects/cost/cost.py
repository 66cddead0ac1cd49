#!/usr/bin/env python
"""Write what the methods of the small tables cost: cost.md and cost.png.

projects/cost/cost.py                                         # from the stored cost.json
projects/cost/cost.py --measure --natural DIR --xrays DIR     # measure first
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
TITLES = dict(natural='Photographs: table 2.2 small', xrays='X-rays: table 3.1 small')
REFERENCES = dict(
    natural={'byol': 'BYOL'}, xrays={'dino': 'DINO, 10 crops', 'dino-cxr-aug': 'DINO, 2 crops'}
)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmarks ``cost`` and ``full-size``; what they found, with its origin."""
    found = {}
    for name in ('cost', 'full-size'):
        result, usual = args.out / f'{name}.json', ['--threads', '1', '--clock', 'process']
        tool = [sys.executable, str(HERE.parents[1] / 'tools' / 'benchmark.py'), name, *usual]
        folders = ['--natural', args.natural, '--xrays', args.xrays, '--templates', args.templates]
        subprocess.run([*tool, *folders, '--json', str(result)], check=True)
        report = json.loads(result.read_text(encoding='utf-8'))
        about = dict(
            date=time.strftime('%Y-%m-%d'),
            machine='{cpu_count} cores, {machine}, torch {torch}'.format(**report['environment']),
            command=f'tools/benchmark.py {name} --natural DIR --xrays DIR {" ".join(usual)}',
        )
        found.update({key: dict(value, **about) for key, value in report['details'].items()})
    return found


def markdown(columns: dict[str, list[str]]) -> str:
    """A Markdown table of header -> cells."""
    rows = [columns, ['---'] * len(columns), *zip(*columns.values(), strict=True)]
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def origin(found: dict[str, Any]) -> str:
    """When, where and how something was measured."""
    return 'Measured {date}, {machine}. Command: {command}'.format(**found)


def cost_page(found: dict[str, Any], table: str) -> str:
    """A row a method: step, loading and memory, each beside the references."""
    found, references = found[table], REFERENCES[table]
    rows: dict[str, dict[str, Any]] = found['rows']
    columns = {
        'method': [row['name'] for row in rows.values()],
        's a step': [
            '{seconds:.3f} ({low:.3f} to {high:.3f})'.format(**row['step']) for row in rows.values()
        ],
        'images/s': [f'{found["batch"] / row["step"]["seconds"]:.1f}' for row in rows.values()],
    }

    def add_ratios(what: str) -> None:
        for reference, name in references.items():
            columns[f'{what} / {name}'] = [
                '1'
                if key == reference
                else '{value:.2f} ({low:.2f} to {high:.2f})'.format(**row[what]['ratio'][reference])
                for key, row in rows.items()
            ]

    add_ratios('step')
    columns['s to load a batch'] = [f'{row["load"]["seconds"]:.3f}' for row in rows.values()]
    add_ratios('load')
    if any('load_anew' in row for row in rows.values()):
        columns['with superpixels computed anew'] = [
            f'{row["load_anew"]["seconds"]:.2f}' if 'load_anew' in row else ''
            for row in rows.values()
        ]
    peaks = {key: row['peak_bytes'] / 2**20 for key, row in rows.items()}
    columns['peak MiB of a step'] = [f'{peak:.0f}' for peak in peaks.values()]
    for reference, name in references.items():
        columns[f'peak / {name}'] = [f'{p / peaks[reference]:.2f}' for p in peaks.values()]
    columns['MiB held'] = [f'{row["held_bytes"] / 2**20:.1f}' for row in rows.values()]
    note = (
        f'Batch {found["batch"]}; medians of {found["rounds"]} steps and of '
        f'{max(2, found["rounds"] // 3)} batches, all methods in turns; in brackets the extremes, '
        'of ratios those of neighbouring measurements. Processor time of one process with one '
        'thread. Peak: tensors of one step above what is held between steps (weights, target, '
        'queue, optimiser). '
    )
    if 'kmeans' in found:
        note += (
            "Within R2O's step K-means takes {kmeans:.1%} (mean {iterations:.0f} iterations on "
            '{points:.0f} superpixels of a batch), all of the search for objects, the pass of x0 '
            'included, {refine:.0%}. '
        ).format(**found['kmeans'])
    return f'## {TITLES[table]}\n\n{markdown(columns)}\n\n{note}{origin(found)}\n'


def draw(found: dict[str, Any], path: Path) -> None:
    """Ratios of step, loading and memory to the last reference of each table."""
    figure = Figure(figsize=(11.2, 4.2), layout='constrained')
    panels = figure.subplots(1, len(TITLES))
    for axes, (table, title) in zip(panels, TITLES.items(), strict=True):
        rows, reference = found[table]['rows'].values(), list(REFERENCES[table])[-1]
        base = found[table]['rows'][reference]
        for shift, (label, values) in enumerate(
            {
                'step': [row['step']['ratio'][reference]['value'] for row in rows],
                'loading': [row['load']['ratio'][reference]['value'] for row in rows],
                'peak memory': [row['peak_bytes'] / base['peak_bytes'] for row in rows],
            }.items()
        ):
            places = [place + 0.27 * (shift - 1) for place in range(len(rows))]
            bars = axes.barh(places, values, 0.25, label=label)
            axes.bar_label(bars, fmt='%.2f', fontsize=7, padding=2)
        axes.axvline(1, color='black', linewidth=0.8)
        axes.set_yticks(range(len(rows)), [row['name'].replace(': ', ':\n') for row in rows])
        axes.set(title=title, xlabel=f'ratio to {base["name"]}')
        axes.margins(x=0.12)
        axes.invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside lower center', ncols=3)
    figure.savefig(path, dpi=100)


def main(argv: list[str] | None = None) -> None:
    """Measure if asked to, then write cost.json, cost.md and cost.png."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, default='work_dirs/cost', help='(default: %(default)s)')
    parser.add_argument('--measure', action='store_true', help='in place of the stored cost.json')
    parser.add_argument('--natural', metavar='DIR', help='imagenet_sample, coco and VOCdevkit')
    parser.add_argument('--xrays', metavar='DIR', help='jsrt and shenzhen')
    parser.add_argument('--templates', metavar='DIR', default='work_dirs/small/templates')
    args = parser.parse_args(argv)
    if args.measure and not (args.natural and args.xrays):
        parser.error('--measure needs --natural DIR and --xrays DIR')
    args.out.mkdir(parents=True, exist_ok=True)
    found = measure(args) if args.measure else json.loads((HERE / 'cost.json').read_text('utf-8'))
    (args.out / 'cost.json').write_text(json.dumps(found, indent=1) + '\n', encoding='utf-8')
    page = '\n'.join(cost_page(found, table) for table in TITLES)
    (args.out / 'cost.md').write_text(page, encoding='utf-8')
    draw(found, args.out / 'cost.png')
    print(f'written: cost.json, cost.md and cost.png in {args.out}')


if __name__ == '__main__':
    main()
