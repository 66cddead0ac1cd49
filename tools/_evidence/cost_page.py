"""The measured costs as Markdown and a figure."""

from pathlib import Path
from typing import Any

from _tables import layout
from matplotlib.figure import Figure

from orl_mm.visualization import save_figure

TITLES = dict(natural='Photographs: table 2.2 small', xrays='X-rays: table 3.1 small')
MIB = 2**20


def markdown(found: dict[str, Any]) -> str:
    """All that was measured so far, as tables, each with its conditions."""
    parts = [table(found[name]) for name in TITLES if name in found]
    if 'scaling' in found:
        parts.append(scaling_table(found['scaling']))
    return '\n'.join(parts)


def table(found: dict[str, Any]) -> str:
    """A row a method: step, loading, memory, each beside the references."""
    names = {
        row['key']: row['name'].split(',')[0]
        + (
            ', 10 crops'
            if row['key'] == 'dino'
            else ', 2 crops'
            if row['key'] == 'dino-cxr-aug'
            else ''
        )
        for row in found['rows']
    }
    head = ['method', 's a step', 'images/s']
    head += [f'step / {names[r]}' for r in found['references']]
    head += ['s to load a batch', *(f'load / {names[r]}' for r in found['references'])]
    if any('load_anew' in row for row in found['rows']):
        head.append('with superpixels computed anew')
    head += ['peak MiB of a step', *(f'peak / {names[r]}' for r in found['references']), 'MiB held']
    peaks = {row['key']: row['peak_bytes'] for row in found['rows']}
    rows = []
    for row in found['rows']:
        step, load = row['step'], row['load']
        cells = [
            row['name'],
            f'{step["seconds"]:.3f} ({step["low"]:.3f} to {step["high"]:.3f})',
            f'{found["batch"] / step["seconds"]:.1f}',
        ]
        cells += [_ratio(step['ratio'][r], r == row['key']) for r in found['references']]
        cells += [
            f'{load["seconds"]:.3f}',
            *(_ratio(load['ratio'][r], r == row['key']) for r in found['references']),
        ]
        if 'with superpixels computed anew' in head:
            cells.append(f'{row["load_anew"]["seconds"]:.2f}' if 'load_anew' in row else '')
        cells += [
            f'{row["peak_bytes"] / MIB:.0f}',
            *(f'{row["peak_bytes"] / peaks[r]:.2f}' for r in found['references']),
            f'{row["held_bytes"] / MIB:.1f}',
        ]
        rows.append(cells)
    note = (
        f'Batch {found["batch"]}; medians of {found["rounds"]} steps and of '
        f'{max(2, found["rounds"] // 3)} batches, all methods in turns; in brackets the '
        'extremes, of ratios those of neighbouring measurements. Processor time of one '
        'process with one thread, so that other programs matter little (README). '
        'Peak: tensors of one step above what is held between steps (weights, target, '
        'queue, optimiser). '
    )
    if 'kmeans' in found:
        k = found['kmeans']
        note += (
            f"Within R2O's step K-means takes {100 * k['kmeans']:.1f}% (mean "
            f'{k["iterations"]:.0f} iterations on {k["points"]:.0f} superpixels of a batch), '
            f'all of the search for objects, the pass of x0 included, '
            f'{100 * k["refine"]:.0f}%. '
        )
    if found['without']:
        note += f'Left out, because their templates were not there: {", ".join(found["without"])}. '
    return '\n'.join(
        [
            f'## {TITLES[found["table"]]}',
            '',
            *layout.plain(head, rows),
            '',
            note + _origin(found),
            '',
        ]
    )


def scaling_table(found: dict[str, Any]) -> str:
    """Images a second of two processes over one."""
    head = [
        'method',
        'loader workers of a process',
        'images/s, 1 process',
        '2 processes',
        'ratio',
        'of a step waiting for data, 1 and 2',
    ]
    rows = []
    for row in found['rows']:
        waits = ', '.join(f'{s["loading"] / s["step"]:.0%}' for s in row['seconds'].values())
        rows.append(
            [
                row['name'],
                str(row['workers']),
                f'{row["one"]:.1f}',
                f'{row["two"]:.1f}',
                f'{row["speedup"]:.2f}',
                waits,
            ]
        )
    note = (
        f'Wall clock, median of {found["steps"]} steps after 8 of warm-up, the same batch in '
        'each process, a thread each. '
    )
    for name, reduce in found.get('all_reduce', {}).items():
        note += (
            f'All-reduce of the gradient of {name} ({reduce["bytes"] / 1e6:.1f} MB, gloo, 2 '
            f'processes): {1000 * reduce["seconds"]:.1f} ms. '
        )
    return '\n'.join(
        ['## From one process to two', '', *layout.plain(head, rows), '', note + _origin(found), '']
    )


def draw(found: dict[str, Any], path: Path) -> None:
    """Ratios of step, loading and memory to the reference of each table."""
    names = [name for name in TITLES if name in found]
    figure = Figure(figsize=(5.6 * len(names), 4.2), layout='constrained')
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=False):
        rows, reference = found[name]['rows'], found[name]['references'][-1]
        peak = next(r['peak_bytes'] for r in rows if r['key'] == reference)
        groups = (
            ('step', [r['step']['ratio'][reference]['value'] for r in rows]),
            ('loading', [r['load']['ratio'][reference]['value'] for r in rows]),
            ('peak memory', [r['peak_bytes'] / peak for r in rows]),
        )
        for shift, (label, values) in enumerate(groups):
            places = [place + 0.27 * (shift - 1) for place in range(len(rows))]
            bars = axes.barh(places, values, 0.25, label=label, color=f'C{shift}')
            axes.bar_label(bars, fmt='%.2f', fontsize=7, padding=2)
        axes.axvline(1, color='black', linewidth=0.8)
        axes.set(
            title=TITLES[name],
            yticks=range(len(rows)),
            yticklabels=[r['name'].replace(': ', ':\n') for r in rows],
            xlabel='ratio to ' + next(r['name'] for r in rows if r['key'] == reference),
        )
        axes.margins(x=0.12)
        axes.invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside lower center', ncols=3)
    save_figure(figure, path)


def _ratio(found: dict[str, float], itself: bool) -> str:
    if itself:
        return '1'
    return f'{found["value"]:.2f} ({found["low"]:.2f} to {found["high"]:.2f})'


def _origin(found: dict[str, Any]) -> str:
    return f'{found["date"]}, {found["machine"]}. Command: {found["command"]}'
