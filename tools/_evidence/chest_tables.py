"""The small tables 3.1 and 3.2 and the sweep of the strengths: numbers, text, figures."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from matplotlib.figure import Figure

from orl_mm.visualization import save_figure

from _tables.maps import score_maps, template_maps, truth
from _tables.thesis import GUIDED

from . import attention, probe
from .chest_plan import DATASETS, ROWS, ChestRow
from .tables import span_text, stamp

GRID = (14, 14)
COLUMNS = [('jsrt', 'heart'), ('jsrt', 'left_lung'), ('jsrt', 'right_lung'), ('jsrt', 'mean'),
           ('montgomery', 'left_lung'), ('montgomery', 'right_lung')]
TITLES = dict(jsrt='JSRT', montgomery='Montgomery', heart='heart', left_lung='left',
              right_lung='right', mean='mean')
HEAD = [f'{TITLES[name]} {TITLES[part]}' for name, part in COLUMNS]


def attention_table(checkpoints: Dict[str, List[Path]], data: Path, templates: Dict[str, str],
                    command: str, seeds: Sequence[int]) -> Dict[str, Any]:
    """Table 3.1: every row against the row before it; templates themselves; the ceiling.

    Args:
        checkpoints (dict): Row -> a scored checkpoint for each seed.
        data (Path): Of the X-rays.
        templates (dict): Name -> file, or folder of templates of the scored images.
        command (str): That repeats it.
        seeds (sequence): Of the runs.
    """
    rows, before = [], None
    for key, files in checkpoints.items():
        found = [attention.score(file, data) for file in files]
        rows.append(dict(row=key, name=ROWS[key].name, **{
            name: attention.summary([one[name] for one in found],
                                    before and [one[name] for one in before])
            for name in DATASETS}))
        before = found
    fixed = {f'template itself: {name}': template_maps([path])
             for name, path in templates.items()}
    fixed['ceiling of the 14 x 14 grid'] = truth
    configs = attention.configs(data)
    maps = [dict(row=None, name=name, **{
        dataset: attention.summary([score_maps(cfg, maps_of, GRID)])
        for dataset, cfg in configs.items()}) for name, maps_of in fixed.items()]
    return dict(table='3.1', rows=rows, maps=maps, **stamp(command, seeds))


def attention_markdown(table: Dict[str, Any]) -> str:
    """AP with the mean's interval, gain over the row before, coverage of the parts."""
    lines = ['| ' + ' | '.join(['row', *HEAD[:4], 'seeds', 'above the row before', *HEAD[4:],
                                'coverage JSRT', 'Montgomery']) + ' |', '|' + '---|' * 11]
    for row in [*table['rows'], *table['maps']]:
        cells = [row['name'] if row['row'] else f'*{row["name"]}*']
        for name, part in COLUMNS:
            found = row[name][part]
            cells.append(span_text(found, 'ap') if part == 'mean' else f'{found["ap"]:.1f}')
        mean = row['jsrt']['mean']
        cells[5:5] = [', '.join(f'{value:.1f}' for value in mean['seeds']) if row['row'] else '',
                      span_text(mean, 'difference', sign='+') if 'difference' in mean else '']
        cells += [f'{row[name]["mean"]["coverage"]:.2f}' for name in DATASETS]
        lines.append('| ' + ' | '.join(cells) + ' |')
    note = ('Small table 3.1: attention AP in percent, teacher, mean of the seeds; 95% intervals '
            'over patients, for these seeds: the spread between trainings is not in them. Unguided '
            'rows take the best head of each part, chosen on the scored images. Coverage: the share of a part where attention exceeds its mean over the '
            f'image. {table["date"]}, {table["machine"]}. Command: {table["command"]}')
    return '\n'.join([*lines, '', note, ''])


def draw_attention(table: Dict[str, Any], path: Path) -> None:
    """A panel for each column; templates and the ceiling are lighter."""
    rows = [*table['rows'], *table['maps']]
    figure = Figure(figsize=(2.2 * len(COLUMNS) + 2, 0.34 * len(rows) + 1.1),
                    layout='constrained')
    panels = figure.subplots(1, len(COLUMNS), sharey=True)
    for axes, (name, part), title in zip(panels, COLUMNS, HEAD):
        for place, row in enumerate(rows):
            found, color = row[name][part], _color(row['row'])
            axes.plot([found['low'], found['high']], [place, place], color=color)
            axes.plot(found['seeds'], [place] * len(found['seeds']), '.', color=color, alpha=.4)
            axes.plot(found['ap'], place, 'o', color=color)
        axes.set(title=title, xlim=(0, 100), xlabel='AP (%)')
        axes.grid(axis='x', alpha=0.3)
    panels[0].set(yticks=range(len(rows)), yticklabels=[row['name'] for row in rows])
    panels[0].invert_yaxis()
    save_figure(figure, path)


def probe_table(features: Dict[str, List[Path]], command: str,
                seeds: Sequence[int]) -> Dict[str, Any]:
    """Table 3.2 with tuberculosis: every row against DINO with chest augmentation.

    Args:
        features (dict): Row, or ``random`` -> a file of features for each seed.
        command, seeds: See :func:`attention_table`.
    """
    hospitals = {key: [probe.read(file) for file in files] for key, files in features.items()}
    labels = next(iter(hospitals.values()))[0]['test'].labels
    rows = [dict(row=key, name=ROWS[key].name if key in ROWS else 'Random') for key in hospitals]
    for fraction, draws in probe.FRACTIONS.items():
        found = {key: [probe.scores(one['train'], one['test'], fraction, draws) for one in each]
                 for key, each in hospitals.items()}
        for row in rows:
            other = None if row['row'] == 'dino-cxr-aug' else found.get('dino-cxr-aug')
            row[f'{fraction:.0%}'] = probe.summary(found[row['row']], labels, other)
    train = next(iter(hospitals.values()))[0]['train'].labels
    found = {key: [probe.scores_within(one['train']) for one in each]
             for key, each in hospitals.items()}
    for row in rows:
        other = None if row['row'] == 'dino-cxr-aug' else found.get('dino-cxr-aug')
        row['within'] = probe.summary(found[row['row']], train, other)
    return dict(table='3.2', rows=rows, images=dict(
        train=len(train), train_positives=int(train.sum()), test=len(labels),
        test_positives=int(labels.sum())), draws={f'{f:.0%}': n for f, n in
                                                  probe.FRACTIONS.items()},
        **stamp(command, seeds))


def probe_markdown(table: Dict[str, Any]) -> str:
    """AUROC by share of the labels, and the difference from DINO."""
    shares, head = list(table['draws']), ['row']
    for share in shares:
        head += [f'{share} of the labels', 'above DINO, chest augmentation']
    head += ['within Shenzhen, 5 folds', 'above DINO, chest augmentation']
    lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
    for row in table['rows']:
        cells = [row['name']]
        for column in (*shares, 'within'):
            found = row[column]
            cells += [span_text(found, 'auroc'), span_text(found, 'difference', sign='+')
                      if 'difference' in found else '']
        lines.append('| ' + ' | '.join(cells) + ' |')
    n = table['images']
    note = (f'Small table 3.2: tuberculosis, AUROC in percent of a logistic regression on frozen '
            f'features, trained on {n["train"]} images of Shenzhen ({n["train_positives"]} '
            f'positive), tested on {n["test"]} of Montgomery ({n["test_positives"]}). Mean of '
            f'{len(table["seeds"])} seeds and of the draws of labels ('
            + ', '.join(f'{share}: {draws}' for share, draws in table['draws'].items())
            + '); 95% intervals over the test patients (within Shenzhen: its own, whose images all '
            'rows but Random have seen without labels), for these seeds: the spread between '
            f'trainings is not in them. {table["date"]}, {table["machine"]}. '
            f'Command: {table["command"]}')
    return '\n'.join([*lines, '', note, ''])


def draw_probe(table: Dict[str, Any], path: Path) -> None:
    """A panel for each share of the labels."""
    figure = Figure(figsize=(3.2 * len(table['draws']) + 1.5, 0.4 * len(table['rows']) + 1.1),
                    layout='constrained')
    panels = np.atleast_1d(figure.subplots(1, len(table['draws']), sharey=True, sharex=True))
    for axes, share in zip(panels, table['draws']):
        for place, row in enumerate(table['rows']):
            found = row[share]
            color = _color(row['row'])
            axes.plot([found['low'], found['high']], [place, place], color=color)
            axes.plot(found['seeds'], [place] * len(found['seeds']), '.', color=color, alpha=.4)
            axes.plot(found['auroc'], place, 'o', color=color)
        axes.axvline(50, color='0.7', linewidth=1)
        axes.set(title=f'{share} of the labels', xlabel='AUROC, tuberculosis (%)')
        axes.grid(axis='x', alpha=0.3)
    panels[0].set(yticks=range(len(table['rows'])),
                  yticklabels=[row['name'] for row in table['rows']])
    panels[0].invert_yaxis()
    save_figure(figure, path)


def sweep_table(rows: Sequence[ChestRow], checkpoints: List[Path], unguided: Path, data: Path,
                command: str, seeds: Sequence[int]) -> Dict[str, Any]:
    """AP and coverage by the strength of the two terms.

    Args:
        rows (sequence): With ``numbers``.
        checkpoints (list): One for each of them.
        unguided (Path): Of the same training without guidance.
        data, command, seeds: See :func:`attention_table`.
    """
    found = []
    for numbers, file in [(dict(strength=0., spread=0.), unguided),
                          *((row.numbers, file) for row, file in zip(rows, checkpoints))]:
        scored = attention.score(file, data)
        found.append(dict(numbers, **{name: attention.summary([scored[name]])
                                      for name in DATASETS}))
    return dict(table='lambda', rows=found, **stamp(command, seeds))


def sweep_markdown(table: Dict[str, Any]) -> str:
    """Strength by strength."""
    lines = ['| lambda1 = lambda2 | spread | JSRT mean AP | Montgomery mean AP | coverage JSRT | '
             'coverage Montgomery |', '|' + '---|' * 6]
    for row in table['rows']:
        lines.append('| ' + ' | '.join([
            f'{row["strength"]:g}', f'{row["spread"]:g}',
            *(span_text(row[name]['mean'], 'ap') for name in DATASETS),
            *(f'{row[name]["mean"]["coverage"]:.2f}' for name in DATASETS)]) + ' |')
    note = ('Sweep of the strengths, deformable templates, one seed; without guidance the best '
            'heads. 95% intervals over patients; the spread between trainings is not in them. '
            f'{table["date"]}, {table["machine"]}. Command: {table["command"]}')
    return '\n'.join([*lines, '', note, ''])


def draw_sweep(table: Dict[str, Any], path: Path) -> None:
    """AP and coverage on JSRT over the strength, with and without spread."""
    figure = Figure(figsize=(8, 3), layout='constrained')
    for axes, key, title in zip(figure.subplots(1, 2), ('ap', 'coverage'),
                                ('JSRT mean AP (%)', 'coverage of the parts')):
        for number, spread in enumerate(sorted({row['spread'] for row in table['rows']
                                                if row['strength']}, reverse=True)):
            rows = sorted((row for row in table['rows']
                           if row['strength'] and row['spread'] == spread),
                          key=lambda row: row['strength'])
            axes.plot([row['strength'] for row in rows], [row['jsrt']['mean'][key]
                                                          for row in rows], 'o-',
                      color=f'C{number}', label=f'spread {spread:g}')
        for row in table['rows']:
            if not row['strength']:
                axes.axhline(row['jsrt']['mean'][key], color='0.5', linestyle='--',
                             label='no guidance, best heads')
        axes.set(xscale='log', xlabel='lambda1 = lambda2', title=title)
        axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def _color(row: Optional[str]) -> str:
    """Guided, not guided, and without a network."""
    return '0.6' if row is None else 'C1' if row in GUIDED else 'C0'
