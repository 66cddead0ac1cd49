#!/usr/bin/env python
"""The thesis's tables at a size that 2 cores finish: from nothing to numbers, one command each.

    tools/evidence.py 2.2 --data DIR        what pretraining is worth on VOC
    tools/evidence.py 2.3 --data DIR        what R2O's clustering is worth
    tools/evidence.py objects --data DIR    whether the objects get better (figure 2.1)
    tools/evidence.py 3.1 --data XRAYS      attention against the true parts
    tools/evidence.py 3.2 --data XRAYS      tuberculosis from frozen features
    tools/evidence.py lambda --data XRAYS   how strongly to guide

DIR holds imagenet_sample, coco and VOCdevkit, as orl_mm/datasets/splits/natural_small.txt lists
them; XRAYS holds jsrt, shenzhen and montgomery, as tools/convert_cxr.py writes them. Everything
goes to --out (default: work_dirs/evidence): superpixels, templates, checkpoints, logs, and the
table as Markdown, JSON and a figure. What is done is not done again; stop it whenever you like,
and the same command goes on.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault('KINETO_LOG_LEVEL', '5')  # torch's profiler: errors alone
from orl_tools import Parser, command_errors, prepare

prepare()
import torch
from _evidence import attention, attention_table, fit, probe, probe_table, sweep_table, tables
from _evidence.base_plan import ROOT, here
from _evidence.chest_plan import ROWS as CHEST_ROWS
from _evidence.chest_plan import SWEEP, ChestPlan
from _evidence.jobs import alone, run_jobs
from _evidence.plan import ROWS, TABLES, TRANSFERS, Plan
from _evidence.segmentation import areas_of_test
from mmengine.config import Config
from mmengine.logging import MMLogger

from orl_mm.engine import cli
from orl_mm.weights import use_safe_loading

PHOTOGRAPHS = ('imagenet_sample', 'coco', 'VOCdevkit/VOC2012')
XRAYS = ('jsrt', 'shenzhen', 'montgomery')


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument('table', choices=sorted(MAKERS))
    parser.add_argument(
        '--data',
        required=True,
        metavar='DIR',
        help='the photographs, or for 3.1, 3.2 and lambda the X-rays',
    )
    parser.add_argument('--out', default='work_dirs/evidence', metavar='DIR')
    parser.add_argument('--seeds', type=int, default=3, metavar='N')
    parser.add_argument(
        '--jobs',
        type=int,
        default=2,
        metavar='N',
        help='commands side by side, a thread each (default: 2)',
    )
    parser.add_argument(
        '--rows',
        nargs='+',
        metavar='ROW',
        choices=[*ROWS, *CHEST_ROWS],
        help=f'only these: {", ".join(ROWS)}; {", ".join(CHEST_ROWS)}',
    )
    parser.add_argument(
        '--transfers',
        nargs='+',
        choices=list(TRANSFERS),
        metavar='KIND',
        help=f'of 2.2 and 2.3 (default: {" ".join(TRANSFERS)})',
    )
    parser.add_argument('--epochs', type=int, help='of each pretraining, for a try')
    parser.add_argument('--transfer-epochs', type=int, help='of each fine-tuning, for a try')
    parser.add_argument(
        '--redo',
        action='store_true',
        help='delete what was made with other settings, and make it anew',
    )
    args = parser.parse_args(argv)
    args.out = os.path.abspath(args.out)  # jobs run in the repository's root
    if min(args.seeds, args.jobs) < 1:
        parser.error(f'--seeds and --jobs must be at least 1, got {args.seeds} and {args.jobs}')
    if args.table not in TABLES and (args.transfers or args.transfer_epochs):
        parser.error(
            f'--transfers and --transfer-epochs are of {" and ".join(TABLES)}, not of {args.table}'
        )
    return args


def segmentation_table(args):
    """Tables 2.2 and 2.3."""
    plan = Plan(Path(args.out), Path(args.data), args.epochs, args.transfer_epochs)
    keys = chosen(args, TABLES[args.table])
    kinds = dict.fromkeys(args.transfers or TRANSFERS)
    scores = {key: {kind: [] for kind in kinds} for key in keys}
    for seed in range(args.seeds):  # seed by seed: each is a whole table
        for key in keys:
            for kind in kinds:
                scores[key][kind].append(plan.transfer(ROWS[key], seed, kind))
    work(args, plan)
    table = tables.build(args.table, scores, command(args), range(args.seeds))
    print(tables.write(table, plan.out))


def objects_figure(args):
    """Figure 2.1 with numbers: R2O and BYOL over their training, all seeds."""
    plan = Plan(Path(args.out), Path(args.data), args.epochs, args.transfer_epochs)
    networks, after = [], []  # paths from the root, where jobs run: results show them
    for seed in range(args.seeds):
        for key in chosen(args, ('byol', 'r2o')):
            checkpoint, job = plan.pretrain(ROWS[key], seed)
            networks.append(
                f'{ROWS[key].name.split(",")[0]}='  # no '=' in it
                f'{os.path.relpath(checkpoint.parent, ROOT)}'
            )
            after.append(job)
    stem = str(plan.out / 'objects_small')
    plan.add(
        'objects',
        plan.python(
            'tools/score_objects.py',
            'configs/r2o/small/r2o.py',
            *networks,
            '--voc',
            plan.environment['ORL_VOC'],
            '--coco',
            str(plan.data / 'coco'),
            '--seeds',
            str(args.seeds),
            '--json',
            f'{stem}.json',
            '--figure',
            f'{stem}.png',
            '--picture',
            f'{stem}_images.png',
            '--markdown',
            f'{stem}.md',
        ),
        Path(f'{stem}.json'),
        after,
        8,
        again=True,
    )
    work(args, plan)
    said = here()
    with open(f'{stem}.md', 'a', encoding='utf-8') as page:
        page.write(f'\n{said["date"]}, {said["machine"]}. Command: {command(args)}\n')
    print(Path(f'{stem}.md').read_text(encoding='utf-8'))


def make_attention(args):
    """Table 3.1."""
    plan = ChestPlan(Path(args.out), Path(args.data), args.epochs)
    files = {key: [] for key in chosen(args, CHEST_ROWS)}
    for seed in range(args.seeds):
        for key in files:
            files[key].append(plan.attention(CHEST_ROWS[key], seed))
    templates = dict(
        triangular='cxr_triangles',
        average=str(plan.average()[0]),
        deformable=str(plan.registered_to_scored()[0]),
    )
    work(args, plan)
    table = attention_table.build(files, plan.data, templates, command(args), range(args.seeds))
    print(tables.write(table, plan.out, attention_table.markdown, attention_table.draw))


def make_probe(args):
    """Table 3.2, with tuberculosis."""
    plan = ChestPlan(Path(args.out), Path(args.data), args.epochs)
    files = {key: [] for key in ('random', *chosen(args, CHEST_ROWS))}
    for seed in range(args.seeds):
        for key in files:
            files[key].append(plan.features(CHEST_ROWS.get(key), seed))
    work(args, plan)
    table = probe_table.build(files, command(args), range(args.seeds))
    print(tables.write(table, plan.out, probe_table.markdown, probe_table.draw))


def sweep(args):
    """Strengths of the two terms, and of spread, seed 0."""
    plan = ChestPlan(Path(args.out), Path(args.data), args.epochs)
    unguided = plan.attention(CHEST_ROWS['dino-cxr-aug'], 0)
    files = [plan.attention(row, 0) for row in SWEEP]
    work(args, plan)
    table = sweep_table.build(SWEEP, files, unguided, plan.data, command(args), [0])
    print(tables.write(table, plan.out, sweep_table.markdown, sweep_table.draw))


MAKERS = {
    '2.2': segmentation_table,
    '2.3': segmentation_table,
    'objects': objects_figure,
    '3.1': make_attention,
    '3.2': make_probe,
    'lambda': sweep,
}


def chosen(args, keys):
    """Rows of a table, those of --rows if it is given."""
    beyond = [row for row in args.rows or () if row not in keys]
    if beyond:
        raise cli.UserError(f'--rows {" ".join(beyond)}: table {args.table} has {", ".join(keys)}')
    return [key for key in keys if not args.rows or key in args.rows]


def command(args):
    """The command that repeats a table; a try says that it is one."""
    text = f'tools/evidence.py {args.table} --data DIR'
    if args.table != 'lambda':
        text += f' --seeds {args.seeds}'
    for name in ('rows', 'transfers', 'epochs', 'transfer_epochs'):
        value = getattr(args, name)
        if value:
            words = ' '.join(value) if isinstance(value, list) else value
            text += f' --{name.replace("_", "-")} {words}'
    return text


def work(args, plan):
    """Whatever is not done yet."""
    run_jobs(list(plan.jobs.values()), plan.out / 'logs', args.jobs, ROOT, args.redo, args.lock)


def keep_areas(config, checkpoint, out):
    """A job of the tables: test a segmenter, keep its counts."""
    areas, miou = areas_of_test(Config.fromfile(config), Path(checkpoint))
    tables.write_areas(Path(out), areas, miou)


# What a table's jobs call: its own commands, one thread each.
STEPS = {
    'areas': keep_areas,
    'fit': lambda config, checkpoint, out, strength: fit.fit_segmenter(
        Config.fromfile(config), checkpoint, Path(out), float(strength)
    ),
    'attention': lambda checkpoint, data: attention.score(Path(checkpoint), Path(data)),
    'features': lambda checkpoint, out: probe.extract(checkpoint, Path(out)),
}


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in STEPS:
        torch.set_num_threads(1)
        MMLogger.get_current_instance().setLevel('WARNING')  # no list of initial weights
        use_safe_loading()
        with command_errors():
            STEPS[argv[0]](*argv[1:])
        return
    args = parse_args(argv)
    with command_errors():
        needed = XRAYS if args.table in ('3.1', '3.2', 'lambda') else PHOTOGRAPHS
        for folder in needed:
            if not (Path(args.data) / folder).is_dir():
                raise cli.UserError(
                    f'there is no folder {Path(args.data) / folder}: for '
                    f'{args.table}, --data DIR must hold {", ".join(needed)}'
                )
        with alone(Path(args.out) / 'logs') as args.lock:
            MAKERS[args.table](args)


if __name__ == '__main__':
    main()
