#!/usr/bin/env python
"""The thesis's tables at a size that 2 cores finish: from nothing to numbers, one command each.

    tools/evidence.py 2.2 --data DIR        what pretraining is worth on VOC
    tools/evidence.py 2.3 --data DIR        what R2O's clustering is worth
    tools/evidence.py objects --data DIR    whether the objects get better (figure 2.1)

DIR holds imagenet_sample, coco and VOCdevkit, as orl_mm/datasets/splits/natural_small.txt lists
them. Everything goes to --out (default: work_dirs/evidence): superpixels, checkpoints, logs, and
the table as Markdown, JSON and a figure. What is done is not done again; stop it
whenever you like, and the same command goes on.
"""

import os.path as osp
import sys
from pathlib import Path

HERE = osp.dirname(osp.abspath(__file__))
for folder in (HERE, osp.dirname(HERE)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

try:
    import orl_mm  # noqa: F401  (first: mends what the next imports meet)
except ModuleNotFoundError as error:
    sys.exit(f'{error}; type `make env` once, then `source .venv/bin/activate` (or '
             f'.venv/bin/python {sys.argv[0]} ...)')
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from orl_mm.engine import cli  # noqa: E402
from orl_mm.engine.checkpoint import use_safe_loading  # noqa: E402

from _evidence import tables  # noqa: E402
from _evidence.jobs import Job, run_jobs  # noqa: E402
from _evidence.plan import ROOT, ROWS, TABLES, TRANSFERS, Plan  # noqa: E402
from _evidence.segmentation import areas_of_test  # noqa: E402


def parse_args(argv=None):
    parser = cli.Parser(description=__doc__.split('\n')[0])
    parser.add_argument('table', choices=('2.2', '2.3', 'objects'))
    parser.add_argument('--data', required=True, metavar='DIR', help='the photographs')
    parser.add_argument('--out', default='work_dirs/evidence', metavar='DIR')
    parser.add_argument('--seeds', type=int, default=3, metavar='N')
    parser.add_argument('--jobs', type=int, default=2, metavar='N',
                        help='commands side by side, a thread each (default: 2)')
    parser.add_argument('--rows', nargs='+', choices=sorted(ROWS), metavar='ROW',
                        help=f'only these: {", ".join(ROWS)}')
    parser.add_argument('--epochs', type=int, help='of each pretraining, for a try')
    parser.add_argument('--transfer-epochs', type=int, help='of each transfer, for a try')
    args = parser.parse_args(argv)
    if min(args.seeds, args.jobs) < 1:
        parser.error(f'--seeds and --jobs must be at least 1, got {args.seeds} and {args.jobs}')
    return args


def segmentation_table(args, plan):
    """Tables 2.2 and 2.3."""
    keys = [key for key in TABLES[args.table] if not args.rows or key in args.rows]
    scores = {key: {kind: [] for kind in TRANSFERS} for key in keys}
    for seed in range(args.seeds):  # seed by seed: each is a whole table
        for key in keys:
            for kind in TRANSFERS:
                scores[key][kind].append(plan.transfer(ROWS[key], seed, kind))
    run_jobs(list(plan.jobs.values()), plan.out / 'logs', args.jobs, ROOT)
    command = f'tools/evidence.py {args.table} --data DIR --seeds {args.seeds}'
    for name in ('rows', 'epochs', 'transfer_epochs'):  # a try says that it is one
        value = getattr(args, name)
        if value:
            words = ' '.join(value) if name == 'rows' else value
            command += f' --{name.replace("_", "-")} {words}'
    table = tables.build(args.table, scores, command, list(range(args.seeds)))
    print(tables.write(table, plan.out))


def objects_figure(args, plan):
    """Figure 2.1 with numbers: R2O and BYOL, seed 0, over their training."""
    networks, after = [], []
    for key in args.rows or ('byol', 'r2o'):
        checkpoint, job = plan.pretrain(ROWS[key], 0)
        networks.append(f'{ROWS[key].name}={checkpoint.parent}')
        after.append(job)
    done = plan.out / 'objects_small.json'
    done.unlink(missing_ok=True)
    stem = str(plan.out / 'objects_small')
    command = [sys.executable, str(ROOT / 'tools/score_objects.py'), 'configs/r2o/small/r2o.py',
               *networks, '--voc', plan.environment['ORL_VOC'], '--coco', str(plan.data / 'coco'),
               '--seeds', str(args.seeds), '--json', str(done), '--figure', f'{stem}.png',
               '--picture', f'{stem}_images.png']
    plan.jobs['objects'] = Job('objects', command, done, after, 2, plan.environment)
    log = plan.out / 'logs' / 'objects.log'
    log.unlink(missing_ok=True)
    run_jobs(list(plan.jobs.values()), plan.out / 'logs', args.jobs, ROOT)
    print(log.read_text(encoding='utf-8')[-3000:])


def keep_areas(config, checkpoint, out):
    """A job of the tables: test a segmenter, keep its counts."""
    use_safe_loading()
    areas, miou = areas_of_test(Config.fromfile(config), Path(checkpoint))
    tables.write_areas(Path(out), areas, miou)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ['areas']:
        torch.set_num_threads(1)
        keep_areas(*argv[1:])
        return
    args = parse_args(argv)
    with cli.user_errors('evidence.py'):
        plan = Plan(Path(args.out), Path(args.data), args.epochs, args.transfer_epochs)
        for folder in ('imagenet_sample', 'coco', 'VOCdevkit/VOC2012'):
            if not (plan.data / folder).is_dir():
                raise cli.UserError(f'there is no folder {plan.data / folder}: --data DIR must '
                                    'hold imagenet_sample, coco and VOCdevkit')
        (objects_figure if args.table == 'objects' else segmentation_table)(args, plan)


if __name__ == '__main__':
    main()
