"""The small table 3.2: tuberculosis from frozen features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _tables import layout

from . import dots, probe
from .chest_plan import ROWS, row_color
from .tables import span_text, stamp


def build(features: dict[str, list[Path]], command: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Table 3.2 with tuberculosis: every row against DINO with chest augmentation.

    Args:
        features (dict): Row, or ``random`` -> a file of features for each seed.
        command (str): That repeats it.
        seeds (sequence): Of the runs.
    """
    hospitals = {key: [probe.read(file) for file in files] for key, files in features.items()}
    labels = next(iter(hospitals.values()))[0]['test'].labels
    rows = [dict(row=key, name=ROWS[key].name if key in ROWS else 'Random') for key in hospitals]
    for fraction, draws in probe.FRACTIONS.items():
        found = {
            key: [probe.scores(one['train'], one['test'], fraction, draws) for one in each]
            for key, each in hospitals.items()
        }
        for row in rows:
            other = None if row['row'] == 'dino-cxr-aug' else found.get('dino-cxr-aug')
            row[f'{fraction:.0%}'] = probe.summary(found[row['row']], labels, other)
    train = next(iter(hospitals.values()))[0]['train'].labels
    found = {
        key: [probe.scores_within(one['train']) for one in each] for key, each in hospitals.items()
    }
    for row in rows:
        other = None if row['row'] == 'dino-cxr-aug' else found.get('dino-cxr-aug')
        row['within'] = probe.summary(found[row['row']], train, other)
    return dict(
        table='3.2',
        rows=rows,
        images=dict(
            train=len(train),
            train_positives=int(train.sum()),
            test=len(labels),
            test_positives=int(labels.sum()),
        ),
        draws={f'{f:.0%}': n for f, n in probe.FRACTIONS.items()},
        **stamp(command, seeds),
    )


def markdown(table: dict[str, Any]) -> str:
    """AUROC by share of the labels, and the difference from DINO."""
    shares, head = list(table['draws']), ['row']
    for share in shares:
        head += [f'{share} of the labels', 'above DINO, chest augmentation']
    head += ['within Shenzhen, 5 folds', 'above DINO, chest augmentation']
    rows = []
    for row in table['rows']:
        cells = [row['name']]
        for column in (*shares, 'within'):
            found = row[column]
            cells += [
                span_text(found, 'auroc'),
                span_text(found, 'difference', sign='+') if 'difference' in found else '',
            ]
        rows.append(cells)
    n = table['images']
    note = (
        f'Small table 3.2: tuberculosis, AUROC in percent of a logistic regression on frozen '
        f'features, trained on {n["train"]} images of Shenzhen ({n["train_positives"]} '
        f'positive), tested on {n["test"]} of Montgomery ({n["test_positives"]}). Mean of '
        f'{len(table["seeds"])} seeds and of the draws of labels ('
        + ', '.join(f'{share}: {draws}' for share, draws in table['draws'].items())
        + '); 95% intervals over the test patients (within Shenzhen: its own, whose images all '
        'rows but Random have seen without labels) and seeds (of one seed: over patients '
        f'alone). {table["date"]}, {table["machine"]}. '
        f'Command: {table["command"]}'
    )
    return '\n'.join([*layout.plain(head, rows), '', note, ''])


def draw(table: dict[str, Any], path: Path) -> None:
    """A panel for each share of the labels, and one for Shenzhen alone."""
    rows, label = table['rows'], 'AUROC, tuberculosis (%)'
    titles = {
        **{share: f'{share} of the labels' for share in table['draws']},
        'within': 'within Shenzhen',
    }
    dots.draw(
        [row['name'] for row in rows],
        [row_color(row['row']) for row in rows],
        [
            dots.Panel(title, label, [row[column] for row in rows], 'auroc', 50.0)
            for column, title in titles.items()
        ],
        path,
    )
