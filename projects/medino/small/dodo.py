"""Tables 3.1 and 3.2 of the thesis, and a sweep of lambda, at a size that 2 cores finish.

    doit -n 2 -f projects/medino/small/dodo.py table31 data=DIR out=DIR seeds=3
    doit -n 2 -f projects/medino/small/dodo.py table32 data=DIR seeds=3
    doit -n 2 -f projects/medino/small/dodo.py lambda data=DIR     # one seed
    doit -f projects/medino/small/dodo.py pages                    # from the stored numbers

DIR holds jsrt, shenzhen and montgomery, as tools/convert_cxr.py writes them. For a try: epochs=1
rows=dino,triangular. A stopped run continues with the same command; what was made with other
settings is made again.
"""

import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import init_default_scope

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from orl_mm.evaluation.bootstrap import resample_patients, seed_summary, weighted_means
from orl_mm.evaluation.results import read_result
from orl_mm.io.image_list import read_lines
from orl_mm.tables.markdown import interval_text
from orl_mm.tables.records import metric_values
from orl_mm.tables.templates import score_maps, template_maps, truth
from orl_mm.tables.xrays import evaluation_config
from orl_mm.visualization.forest import Panel
from orl_mm.visualization.panels import plural
from projects.medino.small import probe
from projects.workflow import (
    Page,
    Workflow,
    doit_config,
    folder_variable,
    pages_task,
    provenance,
    read_config,
    row_plot,
    variable,
)

SMALL = 'configs/medino/small'
SEGMENTER = 'configs/transfer/jsrt/deeplabv3_r18_small.py'
LISTED = f'{SMALL}/dino.py'  # whose images get templates
SETS = ('jsrt', 'montgomery')
HOOK = 8  # AttentionRegHook among the custom hooks of the guided configs
TEMPLATE = 'train_dataloader.dataset.pipeline.2.source'
# Row -> name, config, template that a task makes.
ROWS = {
    'dino': ('DINO, generic augmentation', f'{SMALL}/dino.py', None),
    'dino-cxr-aug': ('DINO, chest augmentation', f'{SMALL}/dino-cxr-aug.py', None),
    'triangular': ('MeDINO, triangular', f'{SMALL}/triangular.py', None),
    'average': ('MeDINO, average', f'{SMALL}/average.py', 'average'),
    'deformable': ('MeDINO, deformable', f'{SMALL}/deformable.py', 'registered'),
}
REFERENCE = 'dino-cxr-aug'  # of table 3.2
# lambda1 = lambda2 and spread. 1e-3 with spread is the row of table 3.1; 0 without is DINO's.
SWEEP = ((0.0, 0.0), (1e-4, 0.05), (1e-3, 0.05), (1e-2, 0.05), (1e-3, 0.0))
RESAMPLES = 2000

HERE = Path(__file__).resolve().parent
DATA, OUT = folder_variable('data', 'data'), folder_variable('out', 'work_dirs/small')
SEEDS, EPOCHS = variable('seeds', 3), variable('epochs', 0)
CHOSEN = variable('rows', tuple(ROWS))
DOIT_CONFIG = doit_config(OUT)
FLOW = Workflow(OUT, dict(ORL_CXR=DATA))
TRY = f'_{EPOCHS}epochs' if EPOCHS else ''  # so that a try is not taken for the real thing
TEMPLATES = OUT / 'templates'
# Template -> what is given to configs and tools, and the file that says that it is complete.
MADE = {
    'average': (TEMPLATES / 'average' / 'average.npz', TEMPLATES / 'average' / 'average.npz'),
    'registered': (TEMPLATES / 'registered', TEMPLATES / 'registered.done'),
    'scored': (TEMPLATES / 'scored', TEMPLATES / 'scored.done'),
}


def sweep_row(strength, spread):
    """Row and options of a point of the sweep: the deformable row with other strengths."""
    if (strength, spread) in ((1e-3, 0.05), (0.0, 0.0)):
        return ('deformable' if strength else 'dino-cxr-aug'), []
    numbers = dict(lambda1=strength, lambda2=strength, spread=spread)
    options = [f'custom_hooks.{HOOK}.{key}={value:g}' for key, value in numbers.items()]
    return f'deformable-l{strength:g}-s{spread:g}', options


SWEEP_OPTIONS = dict(sweep_row(*point) for point in SWEEP)
EVERY = {**dict.fromkeys(ROWS), **SWEEP_OPTIONS}  # row -> options


def pretrained(row, seed):
    """Command and last checkpoint of a pretraining, and the file of its template."""
    _, config, template = ROWS.get(row) or ROWS['deformable']
    options = list(EVERY[row] or [])
    if template:
        options.append(f'{TEMPLATE}={MADE[template][0]}')
    folder = OUT / 'pretrain_cxr' / f'{row}_seed{seed}{TRY}'
    command, checkpoint = FLOW.training(config, folder, seed, options, EPOCHS)
    return command, checkpoint, [MADE[template][1]] if template else []


def scored(row, seed, name):
    """Work directory of the test of a row's attention on a data set."""
    return OUT / 'attention' / f'{row}_seed{seed}{TRY}_{name}'


def features(row, seed):
    """File of the frozen features of both hospitals; of random weights for ``random``."""
    name = f'{row}_seed{seed}{TRY if row in EVERY else ""}'
    return OUT / 'features' / name / 'features.npz'


def scored_images():
    """Paths below ``data`` of JSRT's scored images and of all of Montgomery.

    Raises:
        ValueError: An image of JSRT is missing.
    """
    files = {name: sorted((DATA / name / 'images').iterdir()) for name in SETS}
    wanted = set(read_lines('jsrt_score', 'list'))
    files['jsrt'] = [file for file in files['jsrt'] if file.stem in wanted]
    if len(files['jsrt']) != len(wanted):
        raise ValueError(
            f'{DATA}/jsrt/images has {len(files["jsrt"])} of the {len(wanted)} scored images: '
            'see orl_mm/datasets/splits/README.md'
        )
    return [file.relative_to(DATA).as_posix() for name in SETS for file in files[name]]


def task_templates():
    """The average template (thesis 3.2.2), and the exemplar registered to each image (3.2.3)."""
    folder, epochs = OUT / 'segmenter', read_config(SEGMENTER).train_cfg.max_epochs
    segmenter = folder / f'epoch_{epochs}.pth'
    train: list = ['tools/train.py', SEGMENTER, '--work-dir', folder, '--resume']
    yield FLOW.task('segmenter', [train], folder, segmenter)
    average = MADE['average'][0]
    predict: list = ['tools/average_template.py', SEGMENTER, segmenter, '--config', LISTED]
    yield FLOW.task('average', [[*predict, '--out', average]], average.parent, average, [segmenter])
    listed = TEMPLATES / 'scored.txt'

    def write_list():
        listed.write_text('\n'.join(scored_images()) + '\n', encoding='utf-8')

    images: dict[str, list] = dict(
        registered=['--config', LISTED], scored=['--list', listed, '--root', DATA]
    )
    (exemplar,) = read_lines('jsrt_exemplar', 'list')
    for name, options in images.items():
        folder, done = MADE[name]
        register: list = ['tools/register_templates.py', '--exemplar-root', DATA / 'jsrt']
        register += ['--exemplar-id', exemplar, '--out', folder, '--workers', '1']
        register += ['--fallback', average, *options]
        commands: list = [write_list, register] if name == 'scored' else [register]
        yield FLOW.task(name, commands, folder, done, [average])


def task_pretrain():
    """Pretraining of each row and seed."""
    for seed, row in product(range(SEEDS), EVERY):
        command, checkpoint, needs = pretrained(row, seed)
        yield FLOW.task(f'{row}_seed{seed}', [command], checkpoint.parent, checkpoint, needs)


def task_attention():
    """Attention AP of each row and seed on JSRT and Montgomery."""
    for seed, row, name in product(range(SEEDS), EVERY, SETS):
        folder, checkpoint = scored(row, seed, name), pretrained(row, seed)[1]
        config = folder / 'attention.py'
        test = ['tools/test.py', config, checkpoint, '--work-dir', folder]
        trained = (ROWS.get(row) or ROWS['deformable'])[1]

        def write_config(name=name, config=config, trained=trained):
            root = {'test_dataloader.dataset.data_root': str(DATA / name)}
            evaluation_config(name, read_config(trained), root).dump(str(config))

        yield FLOW.task(
            f'{row}_seed{seed}_{name}',
            [write_config, test],
            folder,
            folder / 'result.json',
            [checkpoint],
            [trained, f'configs/transfer/{name}/attention_vits16.py'],
        )


def task_features():
    """Frozen features of each row and seed, and of random weights."""
    for seed, row in product(range(SEEDS), ('random', *ROWS)):
        needs = [pretrained(row, seed)[1]] if row in ROWS else []
        file = features(row, seed)
        command = ['projects/medino/small/probe.py', *(needs or [f'random:{seed}']), file]
        yield FLOW.task(f'{row}_seed{seed}', [command], file.parent, file, needs, [probe.CONFIG])


def attention_summary(seeds, reference=None):
    """AP in percent by part and their mean, 95% intervals over patients and seeds.

    Args:
        seeds (list): A section ``test`` of a result for each seed, all on the same images.
        reference (list, optional): Of the row to compare with.

    Returns:
        dict: For each part and ``mean``: see :func:`orl_mm.evaluation.bootstrap.seed_summary`,
        and ``coverage``.
    """
    parts = list(seeds[0]['images']['ap'])
    images = list(seeds[0]['images']['ap'][parts[0]])
    patients = seeds[0]['images']['patients']
    counts = resample_patients([patients.get(image, image) for image in images], RESAMPLES)

    def both(group, chosen):  # seeds x parts x images
        ap = [[[s['images']['ap'][p][i] for i in images] for p in chosen] for s in group]
        values = 100 * np.array(ap).mean(1)
        return values.mean(1), np.stack([weighted_means(one, counts) for one in values])

    found = {}
    for name, chosen in [*((part, [part]) for part in parts), ('mean', parts)]:
        other = None if reference is None else both(reference, chosen)
        scores, resampled = both(seeds, chosen)
        found[name] = seed_summary(scores, resampled, other)
        cover = [[metric_values(s)[f'{part}_coverage'] for part in chosen] for s in seeds]
        found[name]['coverage'] = float(np.mean(cover))
    return found


def results(row, seeds):
    """Data set -> the tests of a row."""
    return {
        name: [read_result(scored(row, seed, name))['test'] for seed in range(seeds)]
        for name in SETS
    }


def attention_table():
    """Table 3.1: every row against the row before it; templates themselves; the ceiling."""
    rows, before = [], None
    for row in filter(lambda row: row in CHOSEN, ROWS):
        found = results(row, SEEDS)
        rows.append(
            dict(
                row=row,
                name=ROWS[row][0],
                **{name: attention_summary(found[name], before and before[name]) for name in SETS},
            )
        )
        before = found
    init_default_scope('mmpretrain')
    sources = dict(
        triangular='cxr_triangles', average=MADE['average'][0], deformable=MADE['scored'][0]
    )
    maps_of = {
        f'template itself: {name}': template_maps([str(path)]) for name, path in sources.items()
    }
    maps_of['ceiling of the 14 x 14 grid'] = truth
    configs = {
        name: evaluation_config(name, None, {'test_dataloader.dataset.data_root': str(DATA / name)})
        for name in SETS
    }
    maps = [
        dict(
            row=None,
            name=name,
            **{
                of: attention_summary([score_maps(cfg, maps, (14, 14))])
                for of, cfg in configs.items()
            },
        )
        for name, maps in maps_of.items()
    ]
    return dict(table='3.1', rows=rows, maps=maps, **origin('table31'))


def probe_table():
    """Table 3.2 with tuberculosis: every row against DINO with chest augmentation."""
    keys = ['random', *filter(lambda row: row in CHOSEN, ROWS)]
    hospitals = {row: [probe.read(features(row, seed)) for seed in range(SEEDS)] for row in keys}
    first = hospitals['random'][0]
    rows: list[dict[str, Any]] = [
        dict(row=row, name=ROWS[row][0] if row in ROWS else 'Random') for row in keys
    ]
    columns: dict[str, tuple] = {
        f'{fraction:.0%}': (
            lambda one, f=fraction, n=draws: probe.scores(one['train'], one['test'], f, n),
            first['test'].labels,
        )
        for fraction, draws in probe.FRACTIONS.items()
    }
    columns['within'] = (lambda one: probe.scores_within(one['train']), first['train'].labels)
    for column, (score, labels) in columns.items():
        found = {row: [score(one) for one in each] for row, each in hospitals.items()}
        for row in rows:
            other = None if row['row'] == REFERENCE else found.get(REFERENCE)
            row[column] = probe.auroc_summary(found[row['row']], labels, other)
    images = {}
    for name, hospital in first.items():
        images[name] = len(hospital.labels)
        images[f'{name}_positives'] = int(hospital.labels.sum())
    return dict(
        table='3.2',
        rows=rows,
        images=images,
        draws={f'{fraction:.0%}': draws for fraction, draws in probe.FRACTIONS.items()},
        **origin('table32'),
    )


def sweep_table():
    """AP and coverage by the strength of the two terms, seed 0."""
    rows = []
    for strength, spread in SWEEP:
        found = results(sweep_row(strength, spread)[0], 1)
        summaries = {name: attention_summary(found[name]) for name in SETS}
        rows.append(dict(strength=strength, spread=spread, **summaries))
    return dict(table='lambda', rows=rows, **origin('lambda', 1))


def origin(task, seeds=SEEDS):
    """Where a table's numbers are from; the sweep has one seed and is not told how many."""
    rows = CHOSEN if len(CHOSEN) < len(ROWS) else ()
    told = SEEDS if task != 'lambda' else 0
    return provenance('medino', task, seeds, seeds=told, epochs=EPOCHS, rows=rows)


COLUMNS = {
    'JSRT heart': ('jsrt', 'heart'),
    'JSRT left': ('jsrt', 'left_lung'),
    'JSRT right': ('jsrt', 'right_lung'),
    'JSRT mean': ('jsrt', 'mean'),
    'Montgomery left': ('montgomery', 'left_lung'),
    'Montgomery right': ('montgomery', 'right_lung'),
}


def attention_cells(table):
    titles = list(COLUMNS)
    rows = [['row', *titles[:4], 'seeds', 'minus the previous row', *titles[4:]]]
    rows[0] += ['coverage JSRT', 'Montgomery']
    for row in [*table['rows'], *table['maps']]:
        cells = [row['name'] if row['row'] else f'*{row["name"]}*']
        for name, part in COLUMNS.values():
            score = row[name][part]
            cells.append(interval_text(score) if part == 'mean' else f'{score["mean"]:.1f}')
        mean = row['jsrt']['mean']
        seeds = ', '.join(f'{value:.1f}' for value in mean['seeds']) if row['row'] else ''
        cells[5:5] = [seeds, interval_text(mean, 'difference', '+')]
        rows.append(cells + [f'{row[name]["mean"]["coverage"]:.2f}' for name in SETS])
    return rows


ATTENTION_NOTE = (
    'Small table 3.1: attention AP of the teacher in percent, means over the seeds with 95% '
    'intervals over patients and seeds (with one seed: over patients). Rows without guidance use '
    'the best head of each part, chosen on the scored images. Coverage: the fraction of a part '
    'where attention exceeds its mean over the image.'
)


def guided(rows):
    """Whether attention was guided; None without a network."""
    return [row['row'] and row['row'] in ('triangular', 'average', 'deformable') for row in rows]


def attention_figure(table):
    rows = [*table['rows'], *table['maps']]
    panels = [
        Panel(title, [row[name][part] for row in rows], 'AP (%)', limits=(0, 100))
        for title, (name, part) in COLUMNS.items()
    ]
    return row_plot(rows, guided(rows), panels)


def probe_columns(table):
    titles = {share: f'{share} of the labels' for share in table['draws']}
    return {**titles, 'within': 'within Shenzhen, 5 folds'}


def probe_cells(table):
    columns, above = probe_columns(table), f'minus {ROWS[REFERENCE][0]}'
    rows = [['row', *(title for column in columns.values() for title in (column, above))]]
    for row in table['rows']:
        cells = [
            text
            for column in columns
            for text in (interval_text(row[column]), interval_text(row[column], 'difference', '+'))
        ]
        rows.append([row['name'], *cells])
    return rows


def probe_note(table):
    n = table['images']
    draws = ', '.join(f'{share}: {draws}' for share, draws in table['draws'].items())
    return (
        'Small table 3.2: AUROC for tuberculosis in percent, of a logistic regression on frozen '
        f'features, trained on {n["train"]} images of Shenzhen ({n["train_positives"]} positive) '
        f'and tested on {n["test"]} of Montgomery ({n["test_positives"]} positive). Means over '
        f'{plural(len(table["seeds"]), "seed")} and the draws of labels ({draws}), with 95% '
        'intervals over test patients and seeds (with one seed: over patients). Within Shenzhen: '
        'over its own patients, whose images all rows except Random have seen without labels.'
    )


def probe_figure(table):
    rows = table['rows']
    panels = [
        Panel(title, [row[column] for row in rows], 'AUROC, tuberculosis (%)', line=50.0)
        for column, title in probe_columns(table).items()
    ]
    return row_plot(rows, guided(rows), panels)


def sweep_cells(table):
    rows = [['lambda1 = lambda2', 'spread', 'JSRT mean AP', 'Montgomery mean AP']]
    rows[0] += ['coverage JSRT', 'coverage Montgomery']
    for row in table['rows']:
        means = [row[name]['mean'] for name in SETS]
        cells = [f'{row["strength"]:g}', f'{row["spread"]:g}', *map(interval_text, means)]
        rows.append([*cells, *(f'{mean["coverage"]:.2f}' for mean in means)])
    return rows


SWEEP_NOTE = (
    'Strengths of the two terms with deformable templates, one seed; without guidance, the best '
    'heads are used. 95% intervals over patients; they do not include the variation between '
    'trainings.'
)


def sweep_figure(table):
    rows = [
        dict(row, name=f'lambda {row["strength"]:g}, spread {row["spread"]:g}')
        for row in table['rows']
    ]
    panels = [
        Panel(f'{title} mean', [row[name]['mean'] for row in rows], 'AP (%)')
        for name, title in zip(SETS, ('JSRT', 'Montgomery'), strict=True)
    ]
    cover = [row['jsrt']['mean']['coverage'] for row in rows]
    scores = [dict(mean=value, low=value, high=value) for value in cover]
    panels.append(Panel('JSRT', scores, 'coverage of the parts'))
    return row_plot(rows, [row['strength'] > 0 for row in rows], panels)


PAGES = {
    'table31': Page('table31_small', attention_cells, lambda _: ATTENTION_NOTE, attention_figure),
    'table32': Page('table32_small', probe_cells, probe_note, probe_figure),
    'lambda': Page('lambda_small', sweep_cells, lambda _: SWEEP_NOTE, sweep_figure),
}


def task_tables():
    """The tables ``table31``, ``table32`` and ``lambda``."""
    rows = [row for row in ROWS if row in CHOSEN]
    runs = [(row, seed, name) for seed in range(SEEDS) for row in rows for name in SETS]
    needs = [scored(*run) / 'result.json' for run in runs]
    needs.append(MADE['scored'][1])
    yield PAGES['table31'].task(attention_table, needs, OUT, basename='table31')
    needs = [features(row, seed) for seed in range(SEEDS) for row in ('random', *rows)]
    yield PAGES['table32'].task(probe_table, needs, OUT, basename='table32')
    needs = [scored(row, 0, name) / 'result.json' for row in SWEEP_OPTIONS for name in SETS]
    yield PAGES['lambda'].task(sweep_table, needs, OUT, basename='lambda')


def task_pages():
    """Markdown and figures of the stored numbers."""
    return pages_task(list(PAGES.values()), HERE)
