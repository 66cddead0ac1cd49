#!/usr/bin/env python
"""Write what the methods cost, and what the thesis's own runs would take.

    projects/cost/cost.py
    projects/cost/cost.py --json FILE      # as tools/benchmark.py cost --json FILE wrote it
    projects/cost/cost.py --assume gpu_tflops=60 norm_us=20..50

cost.md and cost.png are measurements of the small tables. Nothing of extrapolation.md was run: it
rests on the measurements and on assumptions.csv.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from extrapolate import HERE, extrapolation_page, origin, read_assumptions
from matplotlib.figure import Figure

from orl_mm.tables.markdown import markdown_table

TITLES = dict(natural='Photographs: table 2.2 small', xrays='X-rays: table 3.1 small')
REFERENCES = dict(
    natural={'byol': 'BYOL'}, xrays={'dino': 'DINO, 10 crops', 'dino-cxr-aug': 'DINO, 2 crops'}
)


def cost_page(found: dict[str, Any], table: str) -> str:
    """Step, loading and memory of each method, each as a ratio to the references."""
    found, references = found[table], REFERENCES[table]
    methods: dict[str, dict[str, Any]] = found['rows']
    online = any('load_anew' in row for row in methods.values())
    rows = []
    for key, row in methods.items():

        def ratios(what: str, key: str = key, row: dict[str, Any] = row) -> dict[str, str]:
            return {
                f'{what} / {name}': '1'
                if key == reference
                else '{value:.2f} ({low:.2f} to {high:.2f})'.format(**row[what]['ratio'][reference])
                for reference, name in references.items()
            }

        cells = {'method': row['name']}
        cells['step, s'] = '{seconds:.3f} ({low:.3f} to {high:.3f})'.format(**row['step'])
        cells['images/s'] = f'{found["batch"] / row["step"]["seconds"]:.1f}'
        cells |= ratios('step')
        cells['loading a batch, s'] = f'{row["load"]["seconds"]:.3f}'
        cells |= ratios('load')
        if online:
            seconds = f'{row["load_anew"]["seconds"]:.2f}' if 'load_anew' in row else ''
            cells['with online superpixels, s'] = seconds
        cells['peak of a step, MiB'] = f'{row["peak_bytes"] / 2**20:.0f}'
        for reference, name in references.items():
            ratio = row['peak_bytes'] / methods[reference]['peak_bytes']
            cells[f'peak / {name}'] = f'{ratio:.2f}'
        cells['between steps, MiB'] = f'{row["held_bytes"] / 2**20:.1f}'
        rows.append(cells)
    note = (
        f'Batch size {found["batch"]}. Medians of {found["rounds"]} steps and '
        f'{max(2, found["rounds"] // 3)} batches, with all methods measured in turns. Brackets '
        'give the smallest and largest values; for ratios, those of consecutive measurements. '
        'Times are processor times of one process with one thread. Peak: memory of the tensors of '
        'one step in addition to those kept between steps (weights, target, queue, optimizer '
        'state). '
    )
    if 'kmeans' in found:
        note += (
            "K-means takes {kmeans:.1%} of R2O's step (on average {iterations:.0f} iterations on "
            '{points:.0f} superpixels per batch); finding the objects, including the pass of x0, '
            'takes {refine:.0%}. '
        ).format(**found['kmeans'])
    return f'## {TITLES[table]}\n\n{markdown_table(rows)}\n\n{note}{origin(found)}\n'


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
    """Write cost.json, cost.md, cost.png and extrapolation.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--json', type=Path, default=HERE / 'cost.json', help='measurements')
    parser.add_argument('--assume', nargs='+', default=[], metavar='NAME=VALUE|BEST..WORST')
    parser.add_argument('--out', type=Path, default='work_dirs/cost', help='(default: %(default)s)')
    args = parser.parse_args(argv)
    found = json.loads(args.json.read_text('utf-8'))
    found = found.get('details', found)
    if missing := {*TITLES, 'inputs'} - found.keys():
        parser.error(f'{args.json} lacks {missing}: measure with --natural and --xrays')
    try:
        pages = dict(extrapolation=extrapolation_page(found, read_assumptions(found, args.assume)))
    except ValueError as error:
        parser.error(str(error))
    pages['cost'] = '\n'.join(cost_page(found, table) for table in TITLES)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        (args.out / f'{name}.md').write_text(page, encoding='utf-8')
    (args.out / 'cost.json').write_text(json.dumps(found, indent=1) + '\n', encoding='utf-8')
    draw(found, args.out / 'cost.png')
    print(f'written: cost.json, cost.md, cost.png and extrapolation.md in {args.out}')


if __name__ == '__main__':
    main()
