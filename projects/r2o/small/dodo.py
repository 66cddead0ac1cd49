"""Tables 2.2 and 2.3 and figure 2.1 of the thesis at a size that 2 cores finish; see README.md.

    doit -n 2 -f projects/r2o/small/dodo.py table22 data=DIR out=DIR seeds=3
    doit -n 2 -f projects/r2o/small/dodo.py table23 data=DIR seeds=1
    doit -n 2 -f projects/r2o/small/dodo.py objects data=DIR
    doit -f projects/r2o/small/dodo.py pages      # from the stored numbers

DIR holds imagenet_sample, coco and VOCdevkit. For a try: epochs=1 transfer_epochs=1 rows=byol,r2o.
A stopped run continues with the same command; what was made with other settings is made again.
"""

import json
import os
import re
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from orl_mm.evaluation.results import read_result
from orl_mm.evaluation.segmentation_scores import (
    Areas,
    areas_of,
    resampled_object_iou,
    segmentation_summary,
)
from orl_mm.tables.markdown import interval_text
from orl_mm.tables.objects import object_cells, object_curves, object_note
from orl_mm.visualization.forest import Panel
from orl_mm.visualization.panels import plural
from projects.workflow import (
    ROOT,
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

R2O, BASELINES = 'configs/r2o/small', 'configs/baselines/small'
# Row -> name, and config of pretraining; '' is random weights.
ROWS = {
    'random': ('Random', ''),
    'byol': ('BYOL', f'{BASELINES}/byol.py'),
    'mocov2': ('MoCo v2', f'{BASELINES}/mocov2.py'),
    'densecl': ('DenseCL', f'{BASELINES}/densecl.py'),
    'detcon-b': ('DetCon_B', f'{BASELINES}/detcon-b.py'),
    'pixpro': ('PixPro', f'{BASELINES}/pixpro.py'),
    'r2o': ('R2O, K = 64', f'{R2O}/r2o.py'),
    'official': ('R2O, official', f'{R2O}/official.py'),
    'k4': ('R2O, K = 4', f'{R2O}/k4.py'),
    'k16': ('R2O, K = 16', f'{R2O}/k16.py'),
    'k128-4': ('R2O, K from 128 to 4', f'{R2O}/k128-4.py'),
    'no-clustering': ('R2O, superpixels as objects', f'{R2O}/no-clustering.py'),
    'no-prior': ('R2O, no prior mask', f'{R2O}/no-prior.py'),
}
TABLES = {
    '2.2': ('random', 'byol', 'mocov2', 'densecl', 'detcon-b', 'pixpro', 'r2o', 'official'),
    '2.3': ('byol', 'k4', 'k16', 'r2o', 'k128-4', 'no-clustering', 'no-prior'),
}
TRANSFERS = {
    'linear': 'configs/transfer/voc/small/linear.py',
    'fine-tuned': 'configs/transfer/voc/small/fcn.py',
}
REFERENCE = 'byol'
# Of the linear layer. On a quarter of the training images, held out, five networks had a mean
# mIoU of 6.2, 6.1 and 5.8 with 1e-4, 1e-3 and 1e-2.
STRENGTH = 1e-3
CLASSES = 21

HERE = Path(__file__).resolve().parent
DATA, OUT = folder_variable('data', 'data'), folder_variable('out', 'work_dirs/small')
SEEDS, EPOCHS = variable('seeds', 3), variable('epochs', 0)
TRANSFER_EPOCHS = variable('transfer_epochs', 0)
CHOSEN, KINDS = variable('rows', tuple(ROWS)), variable('transfers', tuple(TRANSFERS))
VOC = DATA / 'VOCdevkit' / 'VOC2012'
DOIT_CONFIG = doit_config(OUT)
FLOW = Workflow(OUT, dict(ORL_NATURAL=DATA, ORL_VOC=VOC))
TRY = f'_{EPOCHS}epochs' if EPOCHS else ''  # so that a try is not taken for the real thing


def superpixels_of(config):
    """The place of the superpixels in a pipeline, and the folder of their cache."""
    for place, step in enumerate(read_config(config).train_dataloader.dataset.pipeline):
        if step.type == 'orl_mm.GenerateSuperpixels' and step.get('method', 'slic') != 'none':
            options = [
                f'{key}-{step[key]}'
                for key in sorted(step)
                if key not in ('type', 'method', 'size', 'keep_image', 'backend')
            ]
            name = '_'.join([step.get('method', 'slic'), *options])
            return place, OUT / 'superpixels' / re.sub(r'[^\w.-]', '', name)
    return None


def complete(folder):
    """The file that says that a folder is complete."""
    return folder.with_name(f'{folder.name}.done')


def pretrained(row, seed):
    """Command and last checkpoint of a pretraining."""
    config, options = ROWS[row][1], []
    found = superpixels_of(config)
    if found:
        options = [f'train_dataloader.dataset.pipeline.{found[0]}.cache={found[1]}']
    folder = OUT / 'pretrain' / f'{row}_seed{seed}{TRY}'
    return FLOW.training(config, folder, seed, options, EPOCHS)


def transferred(row, seed, kind):
    """Work directory of a transfer, whose result has the pixels of each test image."""
    more = f'_transfer{TRANSFER_EPOCHS}' if TRANSFER_EPOCHS and kind == 'fine-tuned' else ''
    return OUT / 'transfer' / f'{kind}_{row}_seed{seed}{TRY}{more}'


def task_superpixels():
    """The superpixels of the pretraining images, once for each setting."""
    made = set()
    for _, config in filter(lambda row: row[1], ROWS.values()):
        found = superpixels_of(config)
        if found and found[1] not in made:
            made.add(found[1])
            command = ['tools/cache_superpixels.py', '--config', config, '--out', found[1]]
            command += ['--workers', '1']
            yield FLOW.task(found[1].name, [command], found[1], complete(found[1]))


def task_pretrain():
    """Pretraining of each row and seed."""
    for seed, (row, (_, config)) in product(range(SEEDS), ROWS.items()):
        if config:
            command, checkpoint = pretrained(row, seed)
            found = superpixels_of(config)
            needs = [complete(found[1])] if found else []
            yield FLOW.task(f'{row}_seed{seed}', [command], checkpoint.parent, checkpoint, needs)


def task_transfer():
    """Transfer of each row and seed to VOC, and its test."""
    for seed, row, (kind, transfer) in product(range(SEEDS), ROWS, TRANSFERS.items()):
        folder = transferred(row, seed, kind)
        needs = [pretrained(row, seed)[1]] if ROWS[row][1] else []
        if kind == 'linear':
            checkpoint, start = folder / 'fitted.pth', needs or [f'random:{seed}']
            train = ['-m', 'orl_mm.evaluation.linear_fit', transfer, *start, checkpoint]
            train += ['--strength', f'{STRENGTH:g}']
        else:
            init = f'.checkpoint={needs[0]}' if needs else '=None'
            options = [f'model.backbone.init_cfg{init}']
            train, checkpoint = FLOW.training(transfer, folder, seed, options, TRANSFER_EPOCHS)
            train = [*train[:2], '--no-validate', *train[2:]]
        test = ['tools/test.py', transfer, checkpoint, '--work-dir', folder]
        result = folder / 'result.json'
        yield FLOW.task(f'{kind}_{row}_seed{seed}', [train, test], folder, result, needs)


def segmentation_table(name):
    """mIoU and IoU of objects of each row, against BYOL image by image."""

    def areas(row, kind):
        results = [read_result(transferred(row, seed, kind))['test'] for seed in range(SEEDS)]
        return [areas_of(result['images']['iou'], CLASSES) for result in results]

    rows, images = [], 0
    keys = [row for row in TABLES[name] if row in CHOSEN]
    for row in keys:
        found: dict[str, Any] = dict(row=row, name=ROWS[row][0])
        for kind in KINDS:
            mine: list[Areas] = areas(row, kind)
            images = len(mine[0].union)
            other = areas(REFERENCE, kind) if row != REFERENCE and REFERENCE in keys else None
            found[kind] = segmentation_summary(mine, other)
            found[f'{kind}, objects'] = segmentation_summary(mine, other, resampled_object_iou)
            if kind == 'linear':
                files = [transferred(row, seed, kind) / 'fit.json' for seed in range(SEEDS)]
                ranks = [json.loads(file.read_text())['effective_rank'] for file in files]
                found['effective_rank'] = ranks
        rows.append(found)
    return dict(table=name, rows=rows, images=images, **origin(f'table{name.replace(".", "")}'))


def origin(task):
    """Where a table's numbers are from."""
    return provenance(
        'r2o',
        task,
        SEEDS,
        seeds=SEEDS,
        epochs=EPOCHS,
        transfer_epochs=TRANSFER_EPOCHS,
        rows=CHOSEN if len(CHOSEN) < len(ROWS) else (),
        transfers=KINDS if len(KINDS) < len(TRANSFERS) else (),
    )


def kinds_of(table):
    return [kind for kind in TRANSFERS if kind in table['rows'][0]]


def segmentation_cells(table):
    head = ['network']
    for kind in kinds_of(table):
        head += [f'VOC mIoU, {kind}', 'seeds', 'minus BYOL', 'IoU of objects', 'minus BYOL']
    rows = [head + ['effective rank'] * ('linear' in kinds_of(table))]
    for row in table['rows']:
        cells = [row['name']]
        for kind in kinds_of(table):
            cells.append(interval_text(row[kind]))
            cells.append(', '.join(f'{value:.1f}' for value in row[kind]['seeds']))
            cells.append(interval_text(row[kind], 'difference', '+'))
            cells.append(interval_text(row[f'{kind}, objects']))
            cells.append(interval_text(row[f'{kind}, objects'], 'difference', '+'))
        if 'effective_rank' in row:
            cells.append(f'{np.mean(row["effective_rank"]):.1f}')
        rows.append(cells)
    return rows


def segmentation_note(table):
    return (
        f'Small table {table["table"]}, in percent: means over '
        f'{plural(len(table["seeds"]), "seed")} with 95% intervals over the {table["images"]} test '
        'images and the seeds (with one seed: over the images). Both rows of a difference use the '
        'same resamples. IoU of objects: all classes together against the background, from the '
        'same predictions. Effective rank: of the centered C5 features of the training images (128 '
        'channels), mean over the seeds.'
    )


def segmentation_figure(table):
    rows = table['rows']
    panels = [
        Panel(
            kind + more, [row[kind + more] for row in rows], 'IoU (%)' if more else 'VOC mIoU (%)'
        )
        for kind in kinds_of(table)
        for more in ('', ', objects')
    ]
    return row_plot(rows, [row['name'].startswith('R2O') for row in rows], panels)


TABLE_PAGES = {
    name: Page(
        f'table{name.replace(".", "")}_small',
        segmentation_cells,
        segmentation_note,
        segmentation_figure,
    )
    for name in TABLES
}
OBJECTS = Page('objects_small', object_cells, lambda table: f'{object_note(table)}.', object_curves)


def segmentation_task(name):
    """The task of table 2.2 or 2.3."""
    places = product(range(SEEDS), [row for row in TABLES[name] if row in CHOSEN], KINDS)
    needs = [transferred(row, seed, kind) / 'result.json' for seed, row, kind in places]
    return TABLE_PAGES[name].task(lambda: segmentation_table(name), needs, OUT)


def task_table22():
    """What pretraining is worth on VOC."""
    return segmentation_task('2.2')


def task_table23():
    """What R2O's clustering is worth."""
    return segmentation_task('2.3')


def task_objects():
    """Agreement of R2O's and BYOL's objects with real ones over their training (figure 2.1)."""
    folder, checkpoints, networks = OUT / 'objects', [], []
    for seed in range(SEEDS):
        for row in ('byol', 'r2o'):
            if row in CHOSEN:
                checkpoints.append(pretrained(row, seed)[1])
                name = ROWS[row][0].split(',')[0]
                networks.append(f'{name}={os.path.relpath(checkpoints[-1].parent, ROOT)}')
    scores = folder / 'scores.json'
    command: list = ['tools/score_objects.py', f'{R2O}/r2o.py', *networks, '--voc', VOC]
    command += ['--coco', DATA / 'coco', '--seeds', str(SEEDS), '--json', scores]
    command += ['--picture', OUT / 'objects_small_images.png']
    task = FLOW.task('objects', [command], folder, scores, checkpoints)

    def write():
        table = json.loads(scores.read_text())
        OBJECTS.write(dict(table, **origin('objects')), OUT)

    del task['name']
    return dict(task, actions=[*task['actions'], write])


def task_pages():
    """Markdown and figures of the stored numbers."""
    return pages_task([*TABLE_PAGES.values(), OBJECTS], HERE)
